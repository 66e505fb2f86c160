"""What does a program, file, package, module or page say its version is?"""

from __future__ import annotations

import re
from collections.abc import Sequence

from probes import compare
from probes.host import Host, command, manifest, packages, tail
from probes.model import Denied, NotFitted, Told, Unsupported
from probes.redact import scrub

LIMIT = 256 << 10

_LOOKS_SO = re.compile(
    r"(?<![\w.])[vV]?([0-9]+(?:\.[0-9]+)+(?:[-+~_.]?[0-9A-Za-z]+)*|(?:19|20)[0-9]{2}-[0-9]{2}-[0-9]{2})"
)


class NoVersion(Told):
    """There is none to be had; the text says why."""


def of_command(host: Host, argv: Sequence[str]) -> str:
    """What a program prints, on standard error where it prints nothing else. Raises NoVersion."""
    try:
        outcome = command.run(host, argv)
    except (NotFitted, Unsupported) as error:
        # A program that somebody named and that is gone is news, not a till without one.
        raise NoVersion(str(error), why=error.why, **error.facts) from error
    if outcome.exit_code != 0:
        how = outcome.signal or f"exit code {outcome.exit_code}"
        said = (outcome.stderr.strip() or outcome.stdout.strip())[:200] or "-"
        raise NoVersion(
            f"{argv[0]} ended with {how}: {said}", why="program_failed", program=argv[0], how=how, said=said
        )
    return outcome.stdout if outcome.stdout.strip() else outcome.stderr


def of_file(host: Host, path: str) -> str:
    """The beginning of a text or firmware file. Raises NoVersion; PermissionError where this user may not look."""
    try:
        return scrub(tail.whole(host, path, LIMIT).decode("utf-8-sig", "replace"))
    except PermissionError:
        raise
    except FileNotFoundError as error:
        raise NoVersion(f"there is no file {path}", why="no_file", path=path) from error
    except OSError as error:
        said = error.strerror or str(error)
        raise NoVersion(f"{path}: {said}", why="file_unreadable", path=path, said=said) from error


def of_package(host: Host, name: str) -> packages.Installed:
    """An installed package. Raises NoVersion."""
    try:
        found = packages.installed(host, name)
    except NotFitted as error:
        raise NoVersion(str(error), why=error.why, **error.facts) from error
    if found is None:
        raise NoVersion(f"the package {name} is not installed", why="no_package", package=name)
    return found


def of_module(host: Host, name: str) -> str:
    """A kernel module. Raises NoVersion, or Denied."""
    found = packages.module(host, name)
    if found is None and packages.modules_are_hidden(host):
        raise Denied(
            f"{name} is not loaded, and the service's sandbox hides /lib/modules (ProtectKernelModules=yes)",
            why="modules_hidden",
            module=name,
        )
    if found is None:
        raise NoVersion(f"there is no kernel module {name}, or it has no version", why="no_module", module=name)
    return found


def of_page(host: Host, url: str, ca_file: str | None) -> str:
    """A page. Raises NoVersion."""
    try:
        return scrub(manifest.page(host, url, ca_file).decode("utf-8-sig", "replace"))
    except manifest.Unusable as error:
        raise NoVersion(str(error)) from error


def extract(text: str, pattern: str | None) -> str:
    """The version in a text: what `pattern` finds, by default the first thing that looks so; "" where there is none."""
    if pattern is not None:
        found = re.search(pattern, text)
        version = (found[1] if found.re.groups else found[0]) or "" if found else ""
    elif re.fullmatch(r"[vV]?[0-9]\S{0,127}", text.strip()):
        version = text.strip().lstrip("vV")
    else:
        looks_so = _LOOKS_SO.search(text)
        version = looks_so[1] if looks_so else ""
    return version.strip()[: compare.LONGEST]


def dpkg_orders(host: Host, version: str, others: set[str]) -> dict[str, int]:
    """dpkg's own word on how a version compares with each of the others, as far as it gives one."""
    answers = {other: packages.dpkg_order(host, version, other) for other in sorted(others)}
    return {other: answer for other, answer in answers.items() if answer is not None}
