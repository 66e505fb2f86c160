"""A PC run by systemd, on a machine that is not: this machine's own /usr booted in a container and thrown away.

Debian's systemd-nspawn boots it with everything but /usr in memory, no network, and a control-group tree of its own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import probes

REPOSITORY = Path(probes.__file__).resolve().parent.parent
# The tree of control groups is mounted in a private mount namespace, so that this machine's own is not touched.
_BOOT = """
umount -R /sys/fs/cgroup; mount -t sysfs sysfs /sys; mount -t cgroup2 none /sys/fs/cgroup
exec systemd-nspawn --quiet --register=no --keep-unit --machine="$1" --volatile=yes --directory=/ \
  --system-call-filter="@clock bpf" --capability=CAP_BPF --private-network --console=pipe --link-journal=no "${@:2}" \
  -- /lib/systemd/systemd systemd.unit=basic.target
"""


class SystemdBox:
    """Up for the length of a `with` block; `run` runs a program in it, `python` a piece of Python with this code.

    `also` are further directories of this machine that it shows, read-only.
    """

    def __init__(self, *also: Path) -> None:
        self.leader = 0
        self._places = [str(REPOSITORY), sys.prefix, sys.base_prefix, *map(str, also)]

    def __enter__(self) -> Self:
        self._log = Path(f"/tmp/systemd-box-{os.getpid()}.log").open("w+b")
        shown = [f"--bind-ro={place}:{place}" for place in self._places]
        self._nspawn = subprocess.Popen(
            ["unshare", "-m", "--propagation", "private", "bash", "-c", _BOOT, "_", f"till{os.getpid()}", *shown],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env={**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
        )
        try:
            self._wait()
            for parent in {str(parent) for place in self._places for parent in Path(place).parents}:
                self.run("chmod", "o+x", parent, check=False)  # in memory; lets others than root get to this Python
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self.leader:
            os.kill(self.leader, signal.SIGRTMIN + 4)  # power off
        try:
            self._nspawn.wait(10)
        except subprocess.TimeoutExpired:
            if self.leader:
                os.kill(self.leader, signal.SIGKILL)
            self._nspawn.kill()
            self._nspawn.wait(10)
        self._log.close()
        Path(self._log.name).unlink()

    def run(self, *argv: str, check: bool = True, timeout: float = 30) -> str:
        """What a program in the box says."""
        done = subprocess.run(
            ["nsenter", "-t", str(self.leader), "-a", *argv],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        assert not check or done.returncode == 0, (argv, done.stdout, done.stderr)
        return done.stdout

    def python(self, code: str, user: str = "root") -> str:
        """What a piece of Python prints in the box; as another user if asked."""
        become = [] if user == "root" else ["setpriv", f"--reuid={user}", "--regid=65534", "--clear-groups"]
        return self.run(*become, "env", f"PYTHONPATH={REPOSITORY}", sys.executable, "-c", code)

    def unit(self, name: str, text: str) -> None:
        """Write a unit file and let systemd read it."""
        self.run("sh", "-c", 'printf "%s" "$1" > "/run/systemd/system/$2" && systemctl daemon-reload', "sh", text, name)

    def _wait(self) -> None:
        ends = time.monotonic() + 60
        while time.monotonic() < ends:
            children = Path(f"/proc/{self._nspawn.pid}/task/{self._nspawn.pid}/children")
            started = children.read_text().split() if children.exists() else []
            self.leader = next((int(pid) for pid in started if _name(pid) == "systemd"), 0)
            # basic.target: none of the services that happen to be installed on this machine.
            if self.leader and self.run("systemctl", "is-active", "basic.target", check=False).strip() == "active":
                return
            if self._nspawn.poll() is not None:
                break
            time.sleep(0.1)
        self._log.seek(0)
        raise AssertionError("systemd did not come up: " + self._log.read().decode("utf-8", "replace")[-2000:])


def _name(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""
