"""What does support need to see, when nobody can come? One archive: report, past, configuration, log, facts of the PC.

Works while the daemon is dead and the disk is full: nothing is written but the archive itself, piece by piece. Every
piece is scrubbed of card data and of the configuration's secrets, capped, and named in the manifest with its hash; one
that cannot be had is named with the reason.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import IO, NamedTuple

from probes.redact import scrub, scrub_data

PIECE_BYTES, WHOLE_BYTES = 1 << 20, 8 << 20
"""No piece is larger, nor all of them together; of a log its end is kept, of everything else its beginning."""
CONCEALED = "[secret]"
MANIFEST = "manifest.json"


class Piece(NamedTuple):
    """One file of the archive: `make` says what is in it, as text or as data for JSON."""

    name: str
    make: Callable[[], object]
    keep_end: bool = False


class Entry(NamedTuple):
    """What the manifest says of a piece."""

    name: str
    bytes: int
    sha256: str
    cut: bool
    missing: str | None


def write(
    file: IO[bytes], pieces: Iterable[Piece], facts: dict[str, object], secrets: Collection[str], now: float
) -> list[Entry]:
    """Write the archive (tar, gzip) and return what is in it. `facts` go into the manifest. Raises OSError."""
    entries: list[Entry] = []
    root = f"posagent-bundle/{facts.get('store') or 'store'}".rstrip("/")
    with tarfile.open(fileobj=file, mode="w|gz", format=tarfile.PAX_FORMAT) as archive:
        left = WHOLE_BYTES
        for piece in pieces:
            content, entry = _content(piece, min(PIECE_BYTES, left), secrets)
            entries.append(entry)
            left -= len(content)
            if entry.missing is None:
                _add(archive, f"{root}/{piece.name}", content, now)
        pieces_told = [entry._asdict() for entry in entries]  # clean already; a hash may look like a card number
        manifest = {**scrub_data(facts), "pieces": pieces_told}
        _add(archive, f"{root}/{MANIFEST}", _written(manifest, secrets), now)
    return entries


def _content(piece: Piece, most: int, secrets: Collection[str]) -> tuple[bytes, Entry]:
    try:
        made = piece.make()
    except Exception as error:  # noqa: BLE001 -- one piece that cannot be had must not cost the others
        cause = conceal(scrub(f"{type(error).__name__}: {error}"), secrets)
        return b"", Entry(piece.name, 0, "", cut=False, missing=cause)
    whole = conceal(scrub(made), secrets).encode("utf-8", "replace") if isinstance(made, str) else _json(made, secrets)
    content = whole if len(whole) <= most else whole[-most:] if piece.keep_end else whole[:most]
    digest = hashlib.sha256(content).hexdigest()
    return content, Entry(piece.name, len(content), digest, cut=len(content) < len(whole), missing=None)


def _json(data: object, secrets: Collection[str]) -> bytes:
    return _written(scrub_data(data), secrets)


def _written(data: object, secrets: Collection[str]) -> bytes:
    return conceal(json.dumps(data, indent=1, ensure_ascii=False, default=str), secrets).encode() + b"\n"


def conceal(text: str, secrets: Iterable[str]) -> str:
    """The text without these secrets, as they are and as JSON and URLs write them."""
    for secret in sorted(_spellings(secrets), key=len, reverse=True):
        text = text.replace(secret, CONCEALED)
    return text


def _spellings(secrets: Iterable[str]) -> Iterator[str]:
    from urllib.parse import quote, quote_plus

    for secret in secrets:
        if secret.strip():
            yield from {secret, json.dumps(secret)[1:-1], quote(secret, safe=""), quote_plus(secret), quote(secret)}


def _add(archive: tarfile.TarFile, name: str, content: bytes, now: float) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mtime, entry.mode = len(content), int(now), 0o600
    archive.addfile(entry, io.BytesIO(content))
