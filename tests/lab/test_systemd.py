"""posagent as a service of a real systemd: installed by install.sh, hurt in every way a till knows, upgraded, removed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.systemd_box import REPOSITORY, SystemdBox

pytestmark = pytest.mark.timeout(300)
PYTHON = f"{sys.base_prefix}/bin/python{sys.version_info.major}.{sys.version_info.minor}"
CLEAN = ("env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8")
QUICKER = "[Service]\nWatchdogSec=12s\nRestartSec=1s\n"
"""Half of the watchdog's time must outlast a turn of the daemon's loop; the unit's own 30 s are only longer."""

TILL = """
[schedule]
retry_interval = "1s"
[probes.power]
kind = "power"
[probes.ups]
kind = "ups"
[probes.usb]
kind = "usb"
vendor = "2fb8"
product = "2200"
[probes.serial]
kind = "serial"
device = "/dev/ttyS0"
owner = "pos"
lines = ["DSR", "CTS"]
max_errors = 10
[probes.interface]
kind = "interface"
name = "pos0"
[probes.gateway]
kind = "gateway"
[probes.ping]
kind = "ping"
host = "192.0.2.1"
[probes.ping-ipv6]
kind = "ping"
host = "::1"
[probes.dns]
kind = "dns"
[probes.internet]
kind = "internet"
[probes.port]
kind = "port"
host = "127.0.0.1"
port = 8080
[probes.tls]
kind = "tls"
host = "127.0.0.1"
port = 8080
[probes.http]
kind = "http"
url = "http://127.0.0.1:8080/"
[probes.clock]
kind = "clock"
server = "192.0.2.1"
[probes.clock-of-the-kernel]
kind = "clock"
[probes.disk]
kind = "disk"
[probes.disk-of-homes]
kind = "disk"
path = "/home"
[probes.memory]
kind = "memory"
[probes.cpu]
kind = "cpu"
[probes.temperature]
kind = "temperature"
[probes.process]
kind = "process"
match = "http.server"
listens = 8080
max_memory = "1GB"
[probes.service]
kind = "service"
unit = "pos.service"
[probes.version-of-command]
kind = "version"
of = "POS software"
command = ["/usr/bin/openssl", "version"]
minimum = "1.0"
[probes.version-of-file]
kind = "version"
of = "POS files"
file = "/var/lib/pos/VERSION"
minimum = "1.0"
[probes.version-of-package]
kind = "version"
package = "systemd"
minimum = "1.0"
[probes.version-of-module]
kind = "version"
module = "cdc_acm"
minimum = "1.0"
[probes.version-of-page]
kind = "version"
of = "POS page"
url = "http://127.0.0.1:8080/VERSION"
minimum = "1.0"
[probes.restart]
kind = "version"
of = "PC"
value = "1.0"
process = "python3"
restart = true
[probes.settlement]
kind = "settlement"
file = "/home/pos/settlement.json"
format = "json"
[probes.age]
kind = "age"
path = "/var/lib/pos/VERSION"
[probes.plugin]
kind = "plugin"
command = ["/usr/lib/nagios/plugins/check_load", "-w", "500,400,300", "-c", "1000,800,600"]
"""
WELL = (
    *("interface", "gateway", "ping", "ping-ipv6", "port", "http", "disk", "disk-of-homes", "memory", "cpu", "process"),
    *("service", "version-of-command", "version-of-file", "version-of-page", "restart", "settlement", "age", "plugin"),
)
"""What is in order on this till, and must be seen to be."""

PREPARE = f"""
mkdir -p /run/over /run/work && mount -t overlay overlay -o lowerdir=/usr/local,upperdir=/run/over,workdir=/run/work /usr/local
umount /proc/sys/kernel/random/boot_id  # the container's invention; a service's own /proc shows the real one
useradd --system pos; mkdir -p /var/lib/pos /home/pos /etc/systemd/system/posagent.service.d
echo 4.2.1 > /var/lib/pos/VERSION
date -u '+[{{"time": "%Y-%m-%dT%H:%M:%SZ", "status": "ok"}}]' > /home/pos/settlement.json
mknod /dev/ttyS0 c 4 64
ip netns add router && ip link add pos0 type veth peer name lan netns router
ip -n router addr add 192.0.2.1/24 dev lan && ip -n router link set lan up
ip addr add 192.0.2.7/24 dev pos0 && ip link set pos0 up && ip route add default via 192.0.2.1
printf '[Service]\\nUser=pos\\nWorkingDirectory=/var/lib/pos\\nExecStart={PYTHON} -m http.server 8080\\n' > /etc/systemd/system/pos.service
printf '{QUICKER.replace(chr(10), chr(92) + "n")}' > /etc/systemd/system/posagent.service.d/test.conf
systemctl daemon-reload && systemctl start pos
"""


class Till(SystemdBox):
    """A PC with a network, POS software and nothing else, on which posagent is installed."""

    def install(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """What install.sh did, run as a technician would."""
        done = subprocess.run(
            ["nsenter", "-t", str(self.leader), "-a", *CLEAN, f"{REPOSITORY}/install.sh", *words],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert not check or done.returncode == 0, (done.stdout, done.stderr)
        return done

    def sh(self, script: str, check: bool = True) -> str:
        return self.run(*CLEAN, "bash", "-euo", "pipefail", "-c", script, check=check, timeout=60)

    def show(self, what: str, unit: str = "posagent.service") -> str:
        return self.run("systemctl", "show", "-P", what, unit).strip()

    def report(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.sh("cat /var/lib/posagent/health.json"))
        return found

    def probes(self) -> dict[str, dict[str, Any]]:
        return {probe["name"]: probe for probe in self.report()["probes"]}

    def incidents(self) -> dict[str, str]:
        return {each["id"]: each["cause"] for each in self.report()["incidents"]}

    def configure(self, text: str) -> None:
        self.run(*CLEAN, "bash", "-c", 'cat <<< "$1" > /etc/posagent/config.toml', "bash", text)

    def log(self) -> str:
        """What posagent, and systemd about it, said in this start of the machine."""
        return self.sh("journalctl --sync; journalctl --unit posagent --output cat --no-pager")

    def on_the_host(self) -> int:
        """The daemon's process id as this machine counts."""
        inner = self.show("MainPID")
        for status in Path("/proc").glob("[0-9]*/status"):
            try:
                text = status.read_text()
            except OSError:
                continue
            if f"\t{inner}\n" in text and "posagent" in text.split("\n")[0] and _same_box(status, self.leader):
                return int(status.parent.name)
        raise AssertionError("the daemon does not run")


def _same_box(status: Path, leader: int) -> bool:
    return os.readlink(status.parent / "ns/pid") == os.readlink(f"/proc/{leader}/ns/pid")


def until(wanted: Callable[[], object], seconds: float = 30.0) -> Any:
    """The first true answer; a report that is not there yet is none."""
    ends = time.monotonic() + seconds
    while True:
        try:
            found = wanted()
        except (AssertionError, LookupError, json.JSONDecodeError):
            found = None
        if found:
            return found
        assert time.monotonic() < ends, "not within its time"
        time.sleep(0.2)


def wheel(source: Path, to: Path, *options: str) -> None:
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--wheel-dir", str(to), *options, str(source)],
        check=True,
        timeout=200,
    )


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This checkout and all it needs as wheels, and beside them a later version that does not start."""
    good = tmp_path_factory.mktemp("wheels")
    wheel(REPOSITORY, good)
    source, bad = tmp_path_factory.mktemp("source"), good / "broken"
    for part in ("agent", "probes"):
        shutil.copytree(REPOSITORY / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / part, source)
    (source / "agent/__init__.py").write_text('"""Which posagent is this?"""\n\n__version__ = "99.0"\n')
    (source / "agent/cli/run.py").write_text(
        '"""Broken."""\n\n\ndef run(_arguments):\n    raise SystemExit("no, not I")\n'
    )
    wheel(source, bad, "--no-deps")
    for each in good.glob("*.whl"):
        shutil.copy(each, bad)
    return good


@pytest.fixture(scope="module")
def till(wheels: Path) -> Iterator[Till]:
    # An empty PC has neither authorities that certificates could come from nor a list of packages.
    with Till(wheels, *(place for place in map(Path, ("/etc/ssl", "/var/lib/dpkg")) if place.is_dir())) as up:
        up.sh(PREPARE)
        up.install("--wheels", str(wheels), "--python", PYTHON)
        yield up


# ---- Installed ----


def test_the_service_is_ready_enabled_and_its_own_user(till: Till) -> None:
    assert (till.show("ActiveState"), till.show("SubState")) == ("active", "running")
    assert till.run("systemctl", "is-enabled", "posagent").strip() == "enabled"
    assert till.show("StatusText")  # READY came, and what it watches
    pid = till.show("MainPID")
    status = till.sh(f"cat /proc/{pid}/status")
    uid = till.sh("id -u posagent").strip()
    assert f"Uid:\t{uid}\t{uid}\t{uid}\t{uid}\n" in status
    assert uid != "0"
    assert "CapEff:\t0000000000000000\n" in status
    assert "CapBnd:\t0000000000000000\n" in status
    assert "NoNewPrivs:\t1\n" in status
    assert "Seccomp:\t2\n" in status
    _name, _x, _uid, _gid, about, home, shell = till.sh("getent passwd posagent").strip().split(":")
    assert (about, home, shell) == ("posagent health check", "/var/lib/posagent", "/usr/sbin/nologin")
    assert till.sh("id -nG posagent").split() == ["posagent"]


def test_files_are_whose_they_must_be(till: Till) -> None:
    def owner(path: str) -> str:
        return till.sh(f"stat -c '%U:%G %a' {path}").strip()

    assert owner("/etc/posagent") == "root:posagent 750"
    assert owner("/etc/posagent/config.toml") == "root:posagent 640"
    assert owner("/var/lib/posagent") == "posagent:posagent 750"
    until(lambda: owner("/var/lib/posagent/health.json") == "posagent:posagent 640")
    assert owner("/opt/posagent/current/") == "root:root 755"


def test_the_command_is_there_for_everybody(till: Till) -> None:
    assert (
        till.run("setpriv", "--reuid=65534", "--clear-groups", "/usr/local/bin/posagent", "--version")
        == "posagent 0.1.0\n"
    )


def test_the_sandbox_is_tight(till: Till) -> None:
    """At most 2.0 of 10; systemd-analyze's own threshold counts in tenths."""
    for unit in ("posagent.service", "posagent-check.service", "posagent-drill.service"):
        till.run("systemd-analyze", "security", "--threshold=20", unit)
        offline = ["systemd-analyze", "security", "--offline=yes", "--threshold=20", str(REPOSITORY / "systemd" / unit)]
        done = subprocess.run(offline, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_systemd_finds_no_fault_with_the_units(till: Till) -> None:
    jobs = [f"posagent-{job}.{suffix}" for job in ("check", "drill") for suffix in ("service", "timer")]
    for unit in ("posagent.service", *jobs):
        done = till.sh(f"systemd-analyze verify {unit} 2>&1")
        assert "posagent" not in done


# ---- What the service's user can do ----


def test_every_kind_of_probe_can_look(till: Till) -> None:
    """All that the example configuration can ask for, as the service's own user inside the sandbox."""
    from probes import registry

    till.configure(TILL)
    till.run("systemctl", "reload", "posagent")
    wanted = TILL.count("[probes.")
    probes = until(lambda: found if len(found := till.probes()) == wanted else None)
    assert {probe["kind"] for probe in probes.values()} == set(registry.names())
    blind = {name: probe["evidence"] for name, probe in probes.items() if probe["reason"] == "probe.denied"}
    assert blind == {}
    unwell = {
        name: (probes[name]["reason"], probes[name]["evidence"]) for name in WELL if probes[name]["status"] != "ok"
    }
    assert unwell == {}
    assert probes["clock-of-the-kernel"]["reason"] in ("ok", "clock.unsynchronised")  # the kernel may be asked
    assert probes["tls"]["reason"] == "tls.handshake_failed"  # that port speaks no TLS
    assert probes["version-of-package"]["status"] == "ok"
    assert probes["memory"]["measurements"]["total_bytes"] > 256 << 20  # of the PC, not of the service's own limit


def test_devices_are_seen_but_not_opened_and_only_the_state_is_writable(till: Till) -> None:
    """A plugin does what the agent could."""
    places = "/ /etc /opt/posagent /usr /var /home /run /dev /dev/shm /sys /proc/sys /var/lib/posagent /var/lib/pos"
    till.configure(
        f"""
        [probes.devices]
        kind = "plugin"
        command = ["/bin/sh", "-c", "ls -d /dev/ttyS0 /dev/net/tun; for n in null tty net/tun; do (: < /dev/$n) && echo opened $n; done; exit 0"]
        [probes.places]
        kind = "plugin"
        command = ["/bin/sh", "-c", "for d in {places}; do touch $d/x-posagent && rm $d/x-posagent && echo -n \\"$d \\"; done; exit 0"]
        """
    )
    assert till.sh("setpriv --reuid=posagent --clear-groups sh -c ': < /dev/net/tun' && echo opened") == "opened\n"
    till.run("systemctl", "reload", "posagent")
    probes = until(lambda: found if set(found := till.probes()) == {"devices", "places"} else None)
    said = " ".join([probes["devices"]["summary"], *probes["devices"]["evidence"]])
    assert "/dev/net/tun" in said
    assert "/dev/ttyS0" in said
    assert "opened null" in said
    assert "opened net/tun" not in said  # though its mode lets everybody
    assert probes["places"]["summary"].split(": ")[1].split() == ["/var/lib/posagent"]


def test_optional_rights_open_what_they_say(till: Till) -> None:
    till.configure(TILL)
    till.run("systemctl", "restart", "posagent")
    seen = until(lambda: till.probes()["process"])
    assert any("may not see" in line for line in seen["evidence"]), seen
    for name in ("serial-holder", "address-conflict", "kernel-modules", "own-commands"):
        till.sh(f"cp {REPOSITORY}/systemd/drop-ins/{name}.conf /etc/systemd/system/posagent.service.d/")
    till.sh(
        "systemctl daemon-reload; systemctl stop posagent; rm /var/lib/posagent/health.json; systemctl start posagent"
    )
    held = int(till.sh("grep CapEff /proc/$(systemctl show -P MainPID posagent)/status").split()[1], 16)
    assert held == 1 << 2 | 1 << 13 | 1 << 19  # DAC_READ_SEARCH, NET_RAW, SYS_PTRACE: the drop-ins add up
    seen = until(lambda: till.probes()["process"])
    assert (seen["status"], [line for line in seen["evidence"] if "may not see" in line]) == ("ok", [])
    assert until(lambda: till.probes()["interface"])["status"] == "ok"  # and its socket for ARP was not refused
    till.sh(
        "cd /etc/systemd/system/posagent.service.d; rm [!t]*.conf; systemctl daemon-reload; systemctl restart posagent"
    )
    assert "CapEff:\t0000000000000000\n" in till.sh("cat /proc/$(systemctl show -P MainPID posagent)/status")


# ---- What happens to it ----


def test_a_good_reload_takes_effect_and_loses_nothing(till: Till) -> None:
    till.configure(TILL)
    till.run("systemctl", "restart", "posagent")
    before = until(till.incidents)
    pid, seq = till.show("MainPID"), till.report()["seq"]
    till.configure(TILL + '[probes.new]\nkind = "age"\npath = "/var/lib/pos/VERSION"\n')
    till.run("systemctl", "reload", "posagent")
    assert until(lambda: till.probes().get("new"))["status"] == "ok"
    assert till.show("MainPID") == pid
    assert till.report()["seq"] > seq
    assert before.items() <= till.incidents().items()


def test_a_bad_reload_keeps_the_old_and_says_why_everywhere(till: Till) -> None:
    pid = till.show("MainPID")
    till.configure(TILL.replace("8080", "99999"))
    with pytest.raises(AssertionError):  # so that whoever typed it knows
        till.run("systemctl", "reload", "posagent")
    assert (till.show("ActiveState"), till.show("MainPID")) == ("active", pid)
    problem = until(lambda: [line for line in till.report()["agent"]["problems"] if "99999" in line])
    assert "probes.port.port: expected 1..65535, got 99999" in problem[0]
    assert "expected 1..65535, got 99999" in till.log()
    assert "99999" in till.sh("posagent status || true")
    till.configure(TILL)
    till.run("systemctl", "reload", "posagent")
    until(lambda: not [line for line in till.report()["agent"]["problems"] if "99999" in line])
    assert till.show("MainPID") == pid


def test_a_killed_daemon_is_back_with_all_it_knew(till: Till) -> None:
    known, report, pid = till.incidents(), till.report(), till.show("MainPID")
    assert known
    till.run("systemctl", "kill", "--signal=KILL", "posagent")
    until(lambda: till.show("ActiveState") == "active" and till.show("MainPID") != pid)
    later = until(lambda: found if (found := till.report())["seq"] > report["seq"] else None)
    assert {each["id"]: each["opened_at"] for each in later["incidents"]} == {
        each["id"]: each["opened_at"] for each in report["incidents"]
    }


def test_a_frozen_process_is_killed_by_the_watchdog_and_back(till: Till) -> None:
    """SIGSTOP: not a thread runs any more."""
    pid = till.show("MainPID")
    till.run("systemctl", "kill", "--kill-whom=main", "--signal=STOP", "posagent")
    until(lambda: till.show("MainPID") != pid and till.show("ActiveState") == "active", 40)
    assert "posagent.service: Watchdog timeout" in till.log()


def test_a_frozen_main_loop_is_killed_though_its_other_threads_live(till: Till) -> None:
    """Only the main thread is held, as a debugger does; the watchdog's own thread sees that nothing moves."""
    inner, pid = till.show("MainPID"), till.on_the_host()
    began = time.monotonic()
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(pid)])
    try:
        assert until(lambda: "stood still" in till.show("StatusText"), 20)
        until(lambda: till.show("MainPID") != inner and till.show("ActiveState") == "active", 40)
        assert 6 < time.monotonic() - began < 60
    finally:
        holder.kill()
        holder.wait(10)
    said = till.log()
    assert "most recent call first" in said  # where every thread stood
    assert "in _take_in" in said


HOLD = """
import ctypes, os, sys
libc, pid = ctypes.CDLL(None, use_errno=True), int(sys.argv[1])
SEIZE, INTERRUPT, ALL = 0x4206, 0x4207, 0x40000000
assert libc.ptrace(SEIZE, pid, 0, 0) == 0 and libc.ptrace(INTERRUPT, pid, 0, 0) == 0, os.strerror(ctypes.get_errno())
while not os.WIFSIGNALED(os.waitpid(pid, ALL)[1]):
    pass
"""


def test_it_stops_within_five_seconds_even_with_hung_probes(till: Till) -> None:
    hung = "".join(
        f'[probes.hung{number}]\nkind = "plugin"\ntimeout = "60s"\n'
        'command = ["/bin/sh", "-c", "trap \'\' TERM INT HUP; sleep 600 & wait; sleep 600"]\n'
        for number in range(20)
    )
    till.configure(hung)
    till.run("systemctl", "restart", "posagent")
    until(lambda: int(till.sh("pgrep -u posagent -c sleep || true")) >= 20)
    began = time.monotonic()
    till.run("systemctl", "stop", "posagent")
    assert time.monotonic() - began < 5
    assert (till.show("Result"), till.show("ActiveState")) == ("success", "inactive")
    assert till.sh("pgrep -u posagent -c . || true").strip() == "0"


def test_a_bad_configuration_at_the_start_is_told_and_not_tried_again_and_again(till: Till) -> None:
    till.configure("nonsense = 1")
    till.run("systemctl", "start", "posagent", check=False)
    until(lambda: till.show("ActiveState") == "failed")
    assert (till.show("ExecMainStatus"), till.show("NRestarts")) == ("78", "0")
    assert "nonsense: unknown setting" in till.log()
    till.configure(TILL)
    till.run("systemctl", "start", "posagent")
    assert till.show("ActiveState") == "active"


# ---- Upgraded, turned into a timer, removed ----


def test_an_upgrade_keeps_configuration_and_state(till: Till, wheels: Path) -> None:
    known, seq = until(till.incidents), till.report()["seq"]
    place, config = till.sh("readlink /opt/posagent/current"), till.sh("cat /etc/posagent/config.toml")
    for _twice in range(2):
        till.install("--wheels", str(wheels), "--python", PYTHON)
    assert till.sh("readlink /opt/posagent/current") != place
    assert till.sh("cat /etc/posagent/config.toml") == config
    later = until(lambda: found if (found := till.report())["seq"] > seq else None)
    assert known.items() <= {each["id"]: each["cause"] for each in later["incidents"]}.items()
    assert len(till.sh("ls -d /opt/posagent/2*").split()) == 2  # this one and the one before


def test_an_upgrade_that_does_not_take_the_configuration_changes_nothing(till: Till, wheels: Path) -> None:
    pid, place = till.show("MainPID"), till.sh("readlink /opt/posagent/current")
    till.configure("[probes.auth]\nkind = 'tls'\nhots = 'x'\n")
    done = till.install("--wheels", str(wheels), "--python", PYTHON, check=False)
    assert done.returncode == 1
    assert 'probes.auth.hots: unknown setting; did you mean "host"?' in done.stderr
    assert "nothing was changed" in done.stderr
    assert (till.show("MainPID"), till.sh("readlink /opt/posagent/current")) == (pid, place)
    assert len(till.sh("ls -d /opt/posagent/2*").split()) == 2
    till.configure(TILL)


def test_an_upgrade_that_does_not_start_is_taken_back(till: Till, wheels: Path) -> None:
    place = till.sh("readlink /opt/posagent/current")
    done = till.install("--wheels", str(wheels / "broken"), "--python", PYTHON, check=False)
    assert done.returncode == 1
    assert "built: posagent 99.0" in done.stdout
    assert "no, not I" in done.stdout
    assert "the old one runs again" in done.stderr
    assert till.sh("readlink /opt/posagent/current") == place
    assert till.show("ActiveState") == "active"
    assert till.sh("posagent --version") == "posagent 0.1.0\n"


def test_the_timer_takes_the_daemons_place_and_gives_it_back(till: Till, wheels: Path) -> None:
    till.install("--wheels", str(wheels), "--python", PYTHON, "--timer")
    assert (till.show("ActiveState"), till.show("ActiveState", "posagent-check.timer")) == ("inactive", "active")
    report = until(lambda: found if (found := till.report())["agent"]["mode"] == "check" else None, 60)
    assert len(report["probes"]) == TILL.count("[probes.")
    until(lambda: till.show("ActiveState", "posagent-check.service") == "inactive")
    assert till.show("Result", "posagent-check.service") == "success"  # a till in trouble is no failed unit
    blind = [probe["name"] for probe in report["probes"] if probe["reason"] == "probe.denied"]
    assert blind == []
    till.install("--wheels", str(wheels), "--python", PYTHON)  # an upgrade keeps what was chosen
    assert till.show("ActiveState", "posagent-check.timer") == "active"
    till.run("systemctl", "start", "posagent")  # never both
    assert till.show("ActiveState", "posagent-check.timer") == "inactive"
    till.install("--wheels", str(wheels), "--python", PYTHON, "--daemon")
    assert (till.show("ActiveState"), till.show("ActiveState", "posagent-check.timer")) == ("active", "inactive")


def test_what_cannot_be_installed_is_said_before_anything_is_done(till: Till) -> None:
    script = f"{REPOSITORY}/install.sh"
    before = till.sh("ls /opt/posagent")
    for words, said in (
        (f"setpriv --reuid=65534 --clear-groups {script}", "cannot install without root; run it with sudo"),
        (f"unshare -m sh -c 'mount -t tmpfs none /run/systemd; {script}'", "this system is not run by systemd"),
        (f"{script} --python /no/such/python", "cannot find /no/such/python; install Python 3.11 or newer"),
        (f"{script} --python /run/old-python", "Python 3.9.2 is too old; posagent needs Python 3.11 or newer"),
        (f"{script} --wheels /no/such", "--wheels: expected a directory, got /no/such"),
        (f"{script} --purge", "--purge goes with --uninstall"),
        (f"{script} --frobnicate", "usage: sudo ./install.sh"),
        (f"flock /run/posagent-install.lock {script}", "another install.sh is at work"),
    ):
        till.sh("printf '#!/bin/sh\\necho Python 3.9.2; exit 1\\n' > /run/old-python; chmod +x /run/old-python")
        told = till.sh(f"{words} 2>&1 && echo it went on || true")
        assert said in told, (words, told)
        assert "it went on" not in told
    assert till.sh("ls /opt/posagent") == before


def test_an_install_that_fails_half_way_leaves_nothing_behind(till: Till, wheels: Path) -> None:
    before = till.sh("ls /opt/posagent")
    done = till.install("--wheels", "/etc", "--python", PYTHON, check=False)
    assert done.returncode == 1
    assert "cannot install the packages" in done.stderr
    assert till.sh("ls /opt/posagent") == before
    assert till.show("ActiveState") == "active"


def test_it_leaves_as_it_came(till: Till) -> None:
    said = till.install("--uninstall").stdout
    assert "kept: /etc/posagent, /var/lib/posagent and the user posagent" in said
    assert till.show("LoadState") == "not-found"
    assert till.sh("ls /etc/posagent /var/lib/posagent/health.json; id -u posagent")
    left = "find / -xdev -path /proc -prune -o -iname '*posagent*' -print 2> /dev/null | grep -v -e ^/tmp -e ^/run -e ^/var/log || true"
    assert set(till.sh(left).split()) == {
        *("/etc/posagent", "/var/lib/posagent", "/etc/systemd/system/posagent.service.d"),
    }
    till.install("--uninstall", "--purge")
    assert till.sh(left) == ""
    assert till.run("getent", "passwd", "posagent", check=False) == ""
    till.install("--uninstall")  # and once more does no harm
