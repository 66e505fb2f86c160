"""Is this software, firmware or driver as new as it must be, and does the running copy match the installed one?"""

from __future__ import annotations

import time
from datetime import datetime

import msgspec

from probes import compare
from probes.host import Host, restart, versions, zone
from probes.host import manifest as manifests
from probes.model import Impact, Kind, Measurement, Memory, Observation, Seconds, Status, because, fail, ok, warn
from probes.redact import scrub, scrub_data
from probes.version_settings import VersionSettings, fits, problems, product, source_of


class Reading(msgspec.Struct, frozen=True):
    """What was found, and what the manifest wants. Texts are free of card data."""

    version: str = ""
    problem: str = ""
    """The reason why there is no version, or ""."""
    because: dict[str, Measurement] = {}
    scheme: compare.Scheme = "auto"
    published: manifests.Entry | None = None
    manifest_problem: str = ""
    waiting: tuple[str, ...] = ()
    """What waits for a restart."""
    orders: dict[str, int] = {}
    """How dpkg itself orders `version` and another text, where it was there to be asked."""
    now: float = 0.0
    today: str = ""
    """The date in the store, such as 2026-12-01."""


def read(settings: VersionSettings, host: Host) -> Reading:
    """Find the version, ask the manifest, and see whether something waits for a restart."""
    now = time.time()
    version, scheme, problem, because = _find(settings, host)
    waiting = restart.waiting(
        host,
        package=settings.package or "",
        module=settings.module or "",
        process=settings.process or "",
        everything=settings.restart,
    )
    published, complaint = _published(settings, host)
    return Reading(
        version=version,
        problem=problem,
        because=scrub_data(because),
        scheme=scheme,
        published=published,
        manifest_problem=complaint,
        waiting=waiting,
        orders=versions.dpkg_orders(host, version, _others(settings, published)) if scheme == "debian" else {},
        now=now,
        today=datetime.fromtimestamp(now, zone.of(host)).date().isoformat(),
    )


def judge(settings: VersionSettings, reading: Reading, memory: Memory) -> Observation:
    """What stops matters first: the wrong version, then a restart that is due, then a manifest out of reach."""
    entry, fetched = _last_published(settings, reading, memory)
    kept = {"manifest": settings.manifest, "at": fetched, **msgspec.structs.asdict(entry)} if entry else {}
    facts = _facts(settings, reading, entry, fetched)
    if reading.problem:
        return _unknown(reading.problem, {**facts, **reading.because}, kept)
    evidence = [reading.manifest_problem] if reading.manifest_problem else []
    try:
        trouble = _trouble(settings, reading, entry)
    except compare.Unparsable as error:
        return _unknown("version.unparsable", {**facts, "detail": str(error)}, kept)
    if trouble is not None:
        status, reason, told = trouble
        say = fail if status is Status.FAIL else warn
        return say(reason, {**facts, **told}, *evidence, *reading.waiting, memory=kept)
    if reading.waiting:
        waiting = list(reading.waiting)
        return warn("version.restart_pending", {**facts, "waiting": waiting}, *evidence, memory=kept)
    if reading.manifest_problem:
        return warn("version.manifest_unreachable", facts, *evidence, memory=kept)
    return ok(facts, memory=kept)


def _others(settings: VersionSettings, published: manifests.Entry | None) -> set[str]:
    """Everything that `judge` will compare with."""
    given = {settings.minimum, settings.expected, *((published.required, published.latest) if published else ())}
    return {other for other in given if other is not None}


def _find(settings: VersionSettings, host: Host) -> tuple[str, compare.Scheme, str, dict[str, Measurement]]:
    """The version and its scheme, or "" with the reason for there being none, and what is behind it."""
    scheme = settings.scheme
    try:
        if settings.package is not None:
            found = versions.of_package(host, settings.package)
            text = found.version
            # With a pattern, what is left is the maker's own version, no longer the package system's.
            scheme = found.system if scheme == "auto" and settings.pattern is None else scheme
        else:
            text = _text(settings, host)
    except versions.NoVersion as error:
        return "", scheme, "version.unreadable", error.because
    # A package's, module's or given version is a version as it stands, be it a bare hash.
    is_whole = settings.pattern is None and not (settings.command or settings.file or settings.url)
    version = text.strip()[: compare.LONGEST] if is_whole else versions.extract(text, settings.pattern)
    if not version:
        return "", scheme, "version.unparsable", {"detail": f"no version in: {text.strip()[:200]!r}"}
    return scrub(version), scheme, "", {}


def _text(settings: VersionSettings, host: Host) -> str:
    """The text that holds the version. Raises NoVersion."""
    if settings.command is not None:
        return versions.of_command(host, settings.command)
    if settings.file is not None:
        return versions.of_file(host, settings.file)
    if settings.module is not None:
        return versions.of_module(host, settings.module)
    if settings.url is not None:
        return versions.of_page(host, settings.url, settings.ca_file)
    return settings.value or ""


def _published(settings: VersionSettings, host: Host) -> tuple[manifests.Entry | None, str]:
    if settings.manifest is None:
        return None, ""
    try:
        return manifests.of(host, settings.manifest, product(settings), settings.ca_file), ""
    except manifests.Unusable as error:
        return None, scrub(str(error))


def _last_published(
    settings: VersionSettings, reading: Reading, memory: Memory
) -> tuple[manifests.Entry | None, float | None]:
    """What the manifest says, or said when it was last in reach, and when that was."""
    if reading.published is not None:
        return reading.published, reading.now
    fetched = memory.get("at")
    if (
        settings.manifest is None
        or memory.get("manifest") != settings.manifest
        or not isinstance(fetched, (int, float))
    ):
        return None, None
    known = {key: memory.get(key) for key in ("required", "latest", "grace_until")}
    return manifests.Entry(**{key: text for key, text in known.items() if isinstance(text, str)}), float(fetched)


def _facts(
    settings: VersionSettings, reading: Reading, entry: manifests.Entry | None, fetched: float | None
) -> dict[str, Measurement]:
    facts: dict[str, Measurement | None] = {
        "of": product(settings),
        "version": reading.version or None,
        "minimum": settings.minimum,
        "expected": settings.expected,
        "required": entry.required if entry else None,
        "latest": entry.latest if entry else None,
        "grace_until": entry.grace_until if entry else None,
        "manifest": settings.manifest,
        # A clock that was set back must not make a manifest younger than new.
        "manifest_age_s": max(0, round(reading.now - fetched)) if fetched is not None else None,
    }
    return {key: value for key, value in facts.items() if value is not None}


def _trouble(
    settings: VersionSettings, reading: Reading, entry: manifests.Entry | None
) -> tuple[Status, str, dict[str, Measurement]] | None:
    """Status, reason and the version `wanted` instead; None when this one will do. Raises Unparsable."""

    def order(other: str) -> int:
        if other == reading.version:
            return 0
        known = reading.orders.get(other)
        return compare.compare(reading.version, other, reading.scheme) if known is None else known

    if settings.expected is not None:
        comparable = fits(reading.version, reading.scheme) and fits(settings.expected, reading.scheme)
        if reading.version != settings.expected and not (comparable and order(settings.expected) == 0):
            return Status.FAIL, "version.mismatch", {"wanted": settings.expected}
    for required in (settings.minimum, entry.required if entry else None):
        if required is not None and order(required) < 0:
            return Status.FAIL, "version.outdated", _wanted(required)
    if entry is not None and entry.latest is not None and order(entry.latest) < 0:
        is_over = entry.grace_until is not None and reading.today > entry.grace_until
        told = _wanted(entry.latest, entry.grace_until, is_over)
        return (Status.FAIL if is_over else Status.WARN), "version.outdated", told
    return None


def _wanted(wanted: str, until: str | None = None, is_over: bool = False) -> dict[str, Measurement]:
    """The version that is wanted, and until when there is time."""
    if until is None:
        return because(f"{wanted} is wanted", why="version_wanted", wanted=wanted)
    if is_over:
        return because(f"{wanted} was wanted by {until}", why="version_was_wanted", wanted=wanted, grace_until=until)
    return because(f"{wanted} is wanted by {until}", why="version_wanted_by", wanted=wanted, grace_until=until)


def _unknown(reason: str, facts: dict[str, Measurement], memory: Memory) -> Observation:
    detail = str(facts["detail"])
    return Observation(
        status=Status.UNKNOWN, reason=reason, measurements=facts, evidence=(detail,), detail=detail, memory=dict(memory)
    )


KIND = Kind(
    name="version",
    summary="the version of software, firmware, a package, module or driver against what is required and published",
    settings=VersionSettings,
    read=read,
    judge=judge,
    target=source_of,
    impact=Impact.DEGRADE,
    interval=Seconds(300),
    problems=problems,
    example={"of": "POS software", "command": ["/opt/pos/bin/pos", "--version"], "minimum": "4.2.0"},
    reasons={
        "version.outdated": "older than required, or than published: a warning until the grace date, then a failure",
        "version.mismatch": "not the expected version; newer counts too",
        "version.unreadable": "the program, file, package, module or page could not be read",
        "version.unparsable": "what was read holds no version that can be compared",
        "version.manifest_unreachable": "the manifest could not be had or does not name this; the last one is used",
        "version.restart_pending": "the installed version runs only after a restart of the program or of this PC",
    },
)
