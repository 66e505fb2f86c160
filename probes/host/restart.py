"""Does anything on this PC wait for a restart: the PC itself, its kernel, a program?"""

from __future__ import annotations

import re

from probes import compare
from probes.host import Host, files, packages


def waiting(host: Host, *, package: str, module: str, process: str, everything: bool) -> tuple[str, ...]:
    """What waits for a restart among these; each may be "". `everything`: also the PC as a whole."""
    found = []
    if process:
        found += [f"{process} (process {pid}): its program was replaced" for pid in replaced(host, process)[:5]]
    if module and packages.is_stale(host, module):
        found.append(f"the module {module}: a copy other than the installed one is loaded")
    named = reboot_required(host)
    if named is not None and (everything or package in named):
        found.append("this PC" + (f", for {', '.join(named[:5])}" if named else ""))
    if everything or package.startswith(("linux-image", "kernel")):
        kernel = newer_kernel(host)
        found += [f"the kernel {kernel}"] if kernel else []
    return tuple(found)


def reboot_required(host: Host) -> tuple[str, ...] | None:
    """The packages for which Debian or Ubuntu wants a restart, perhaps unnamed; None when it wants none."""
    for directory in ("/run", "/var/run"):
        if host.path(f"{directory}/reboot-required").exists():
            try:
                text = files.read_text(host.path(f"{directory}/reboot-required.pkgs"), 16 << 10)
            except OSError:
                text = ""
            return tuple(dict.fromkeys(text.split()))
    return None


def newer_kernel(host: Host) -> str | None:
    """The newest installed kernel if it is newer than the running one and of the same flavour (`-amd64`, `-generic`).

    Kernels of another flavour are somebody's choice in the boot menu, or another system's in a container.
    """
    running = files.read_word(host.path("/proc/sys/kernel/osrelease")) or ""
    newest = running
    for release in _kernels(host):
        try:
            if _flavour(release) == _flavour(running) and compare.compare(release, newest, "dotted") > 0:
                newest = release
        except compare.Unparsable:
            continue
    return newest if newest != running else None


def replaced(host: Host, process: str) -> list[int]:
    """Processes of that name whose program file was replaced since they started. Other users' are shown to root."""
    found = []
    for entry in files.names(host.path("/proc")):
        place = host.path(f"/proc/{entry}")
        if not entry.isdigit() or files.read_word(place / "comm") != process[:15]:
            continue
        try:
            target = str((place / "exe").readlink())
        except OSError:
            continue
        if target.endswith(" (deleted)"):
            found.append(int(entry))
    return found


def _kernels(host: Host) -> list[str]:
    in_boot = [name.removeprefix("vmlinuz-") for name in files.names(host.path("/boot")) if name.startswith("vmlinuz-")]
    modules = host.path("/lib/modules")
    return in_boot + [name for name in files.names(modules) if (modules / name / "vmlinuz").exists()]


def _flavour(release: str) -> str:
    """`-amd64` of 6.1.0-25-amd64; what is left without its numbers."""
    return re.sub(r"[0-9]+", "", release).lstrip(".-")
