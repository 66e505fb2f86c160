"""Which software is looked at, what tells its version, and what must that version be?"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Annotated

from msgspec import Meta

from probes import compare
from probes.host.command import Command
from probes.model import PathText, Pattern, Settings, Text, Url

SOURCES = ("command", "file", "package", "module", "url", "value")

PackageName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9+._:-]*$", title="the name of a package")]
ModuleName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]+$", title="the name of a kernel module such as cdc_acm")]


class VersionSettings(Settings, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One piece of software. One of `command`, `file`, `package`, `module`, `url`, `value` tells its version."""

    of: Annotated[
        Text | None, Meta(description='what it is, for people: "POS software"; also its name in the manifest')
    ] = None
    command: Annotated[
        Command | None, Meta(description='a program that prints the version, such as ["pos", "--version"]')
    ] = None
    file: Annotated[PathText | None, Meta(description="a file that holds the version")] = None
    package: Annotated[PackageName | None, Meta(description="a package of dpkg or rpm")] = None
    module: Annotated[ModuleName | None, Meta(description="a kernel module or driver")] = None
    url: Annotated[Url | None, Meta(description="a page that holds the version")] = None
    value: Annotated[Text | None, Meta(description="the version itself, where something else knows it")] = None
    pattern: Annotated[
        Pattern | None,
        Meta(description="where the version stands: the first group; default: the first text that looks like one"),
    ] = None
    scheme: Annotated[
        compare.Scheme, Meta(description="how versions compare: auto, pep440, semver, debian, rpm, dotted or date")
    ] = "auto"
    minimum: Annotated[Text | None, Meta(description="the oldest version that will do")] = None
    expected: Annotated[Text | None, Meta(description="the only version that will do; a newer one will not")] = None
    manifest: Annotated[
        Text | None,
        Meta(description="path or https:// URL of a manifest with `required`, `latest`, `grace_until` per product"),
    ] = None
    ca_file: Annotated[PathText | None, Meta(description="certificates to trust for `url` and `manifest`")] = None
    process: Annotated[
        Text | None, Meta(description="the running program's name, to see whether it was replaced since it started")
    ] = None
    restart: Annotated[
        bool, Meta(description="true: say also when the whole PC waits for a restart, such as for a new kernel")
    ] = False


def product(settings: VersionSettings) -> str:
    """What people call it."""
    source = source_of(settings)
    return settings.of or (PurePosixPath(source).name if settings.command or settings.file else source)


def source_of(settings: VersionSettings) -> str:
    """The program, path, name or URL that tells the version."""
    value = next((given for name in SOURCES if (given := getattr(settings, name))), "")
    return value[0] if isinstance(value, tuple) else str(value)


def problems(settings: VersionSettings) -> Iterable[tuple[str, str]]:
    """Exactly one source; versions that fit the scheme; a manifest that can be trusted."""
    given = [name for name in SOURCES if getattr(settings, name)]
    if len(given) != 1:
        got = " and ".join(given) or "none"
        yield (given[1] if given else "command"), f"expected exactly one of {', '.join(SOURCES)}, got {got}"
    for key in ("minimum", "expected"):
        text = getattr(settings, key)
        # `expected` may be a text that no scheme knows, such as a driver's hash, unless a scheme is named.
        if text is not None and not fits(text, settings.scheme) and (key, settings.scheme) != ("expected", "auto"):
            scheme = "" if settings.scheme == "auto" else f" of the scheme {settings.scheme}"
            yield key, f'expected a version{scheme}, got "{text}"'
    if settings.manifest is not None and settings.manifest.lower().startswith("http:"):
        yield "manifest", f'expected a path or an https:// URL, got "{settings.manifest}"'


def fits(text: str, scheme: compare.Scheme) -> bool:
    """Whether a text is a version of this scheme."""
    try:
        compare.check(text, scheme)
    except compare.Unparsable:
        return False
    return True
