"""Where does a password come from, if never from the configuration itself?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from probes.model import PathText, Text

EXPECTED = '{ file = "…" }, { env = "…" } or { credential = "…" }'
MAX_BYTES = 65536


class CannotReadSecret(Exception):
    """The place of a secret holds none; the text names the place, never the secret."""


class Secret(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The place of a secret: exactly one of the three."""

    file: Annotated[PathText | None, Meta(description="a file that holds only the secret")] = None
    env: Annotated[Text | None, Meta(description="an environment variable")] = None
    credential: Annotated[Text | None, Meta(description="a name given to systemd's LoadCredential")] = None

    def __str__(self) -> str:
        """The place, as the configuration writes it."""
        return "{ " + ", ".join(f'{key} = "{value}"' for key, value in self.places()) + " }"

    def places(self) -> list[tuple[str, str]]:
        """The places named: one, where the configuration was accepted."""
        named = (("file", self.file), ("env", self.env), ("credential", self.credential))
        return [(key, value) for key, value in named if value is not None]


def secrets_of(table: msgspec.Struct) -> dict[str, Secret]:
    """The places of a table's secrets, by the setting that names them: `token`, `headers.X-Key`."""
    found: dict[str, Secret] = {}
    for name in table.__struct_fields__:
        value: Any = getattr(table, name)
        if isinstance(value, Secret):
            found[name] = value
        elif isinstance(value, Mapping):
            found.update({f"{name}.{key}": item for key, item in value.items() if isinstance(item, Secret)})
    return found


def resolve_secret(secret: Secret, env: Mapping[str, str]) -> str:
    """The secret itself, without the line end an editor leaves. Raises CannotReadSecret."""
    if secret.env is not None:
        text = env.get(secret.env)
        if text is None:
            raise CannotReadSecret(f"cannot read secret {secret}: no such environment variable")
    else:
        text = _contents(secret, _file(secret, env))
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise CannotReadSecret(f"cannot read secret {secret}: it is empty")
    return text


def _file(secret: Secret, env: Mapping[str, str]) -> Path:
    if secret.file is not None:
        return Path(secret.file)
    name = secret.credential or ""
    if not name or "/" in name or name in (".", ".."):
        raise CannotReadSecret(f"cannot read secret {secret}: a credential's name is a file name without directory")
    directory = env.get("CREDENTIALS_DIRECTORY")
    if not directory:
        raise CannotReadSecret(
            f"cannot read secret {secret}: $CREDENTIALS_DIRECTORY is not set; was this started by systemd with "
            "LoadCredential=?"
        )
    return Path(directory) / name


def _contents(secret: Secret, path: Path) -> str:
    try:
        if not path.is_file() and path.exists():
            raise CannotReadSecret(f"cannot read secret {secret}: not a regular file")
        with path.open("rb") as file:
            return file.read(MAX_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise CannotReadSecret(f"cannot read secret {secret}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise CannotReadSecret(f"cannot read secret {secret}: not UTF-8 text") from error
