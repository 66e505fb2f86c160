"""serial: the port, its holder, the right to open it, its lines and its counters; and no port is ever opened."""

from __future__ import annotations

import json
import os
import re
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import texts
from probes.host import Host, holders, rights, serial
from probes.host.holders import Holder, Sight
from probes.host.serial import Uart
from probes.model import Memory, Observation, Status
from probes.serial import KIND, Owner, Reading, SerialSettings
from tests.probes import pos

Tree = Callable[[dict[str, str]], Host]
POS = Path(pos.__file__)
UART = "0: uart:16550A port:000003F8 irq:4 tx:218 rx:12 fe:1 brk:3 RTS|CTS|DTR|DSR|CD\n"
TTYS0 = {
    "/dev/ttyS0": "",
    "/sys/class/tty/ttyS0/dev": "4:64\n",
    "/sys/class/tty/ttyS0/type": "4\n",
    "/sys/class/tty/ttyS0/device/driver": "-> ../../../../bus/platform/drivers/serial8250",
    "/proc/tty/drivers": "serial               /dev/ttyS       4 64-95 serial\n",
    "/proc/tty/driver/serial": f"serinfo:1.0 driver revision:\n{UART}1: uart:unknown port:000002F8 irq:3\n",
}


@contextmanager
def pos_software(*how: str) -> Iterator[tuple[str, int, Callable[[], dict[str, Any]]]]:
    """A process that holds a port: its node, its process id, and how to let go and hear how the port stands."""
    process = subprocess.Popen(
        [sys.executable, str(POS), *how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin is not None and process.stdout is not None
    try:
        begun = json.loads(process.stdout.readline())

        def end() -> dict[str, Any]:
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write("\n")
            process.stdin.flush()
            return {**begun, **json.loads(process.stdout.readline())}

        yield begun["port"], begun["pid"], end
    finally:
        process.kill()
        process.wait(10)
        process.stdin.close()
        process.stdout.close()


@pytest.fixture
def till(tree: Tree) -> Tree:
    """A fixture tree whose port everybody may open."""

    def plant(files: dict[str, str]) -> Host:
        host = tree(files)
        for node in host.path("/dev").glob("ttyS*"):
            node.chmod(0o666)
        return host

    return plant


def look(host: Host, memory: Memory | None = None, **settings: Any) -> Observation:
    wanted = SerialSettings(kind="serial", **settings)
    return KIND.judge(wanted, KIND.read(wanted, host), memory or {})


def said(seen: Observation, language: Any) -> str:
    return texts.sentence("serial", seen.reason, seen.measurements, language)


# Ports held by a real other process.


@pytest.mark.parametrize("how", ["open", "excl", "flock"])
def test_the_pos_software_holding_its_port_is_well_however_it_locked_it(host: Host, how: str) -> None:
    with pos_software(how) as (port, pid, _end):
        seen = look(host, device=port, owner="pos.py")
    assert (seen.status, seen.reason) == (Status.OK, "ok"), seen
    assert any(f"(pid {pid}, open)" in line for line in seen.evidence)


def test_another_program_on_the_port_is_named(host: Host) -> None:
    with pos_software("open") as (port, _pid, _end):
        seen = look(host, device=port, owner="tillserver")
    assert (seen.status, seen.reason) == (Status.FAIL, "serial.taken")
    assert str(seen.measurements["taken_by"]).startswith("python")


def test_without_an_owner_any_honest_holder_is_well_and_named(host: Host) -> None:
    with pos_software("open") as (port, _pid, _end):
        seen = look(host, device=port)
    assert seen.status is Status.OK
    assert str(seen.measurements["holder"]).startswith("python")


def test_the_pos_software_without_its_port_is_told(host: Host) -> None:
    with pos_software("none") as (port, _pid, _end):
        seen = look(host, device=port, owner="pos.py")
    assert (seen.status, seen.reason) == (Status.FAIL, "serial.not_held")
    # not which pid: tests run side by side, and another may have a pos.py of its own
    assert re.fullmatch(r"pos\.py runs \(pid \d+\) without the port", seen.evidence[0])


def test_looking_changes_no_byte_no_speed_and_no_mode(host: Host) -> None:
    with pos_software("open") as (port, _pid, end):
        for _ in range(3):
            look(host, device=port, owner="pos.py", lines=("DSR",), max_errors=0)
        told = end()
    assert told["before"] == told["after"]
    assert told["before"]["waiting"] == len(pos.WAITING)
    assert bytes.fromhex(told["bytes"]) == pos.WAITING


def test_a_lock_of_the_kernel_names_its_holder(host: Host) -> None:
    with pos_software("flock") as (port, pid, _end):
        stat = os.stat(port)
        held = list(holders.parse_locks(Path("/proc/locks").read_text()))
    assert (pid, os.major(stat.st_dev), os.minor(stat.st_dev), stat.st_ino) in held


@pytest.mark.parametrize("device", ["/dev/zero", "/dev/null", "/dev", "/etc/hostname", "/etc/hostname/ttyS0"])
def test_what_is_no_tty_is_no_port(host: Host, device: str) -> None:
    seen = look(host, device=device)
    assert (seen.status, seen.reason) == (Status.FAIL, "serial.absent")
    if "ttyS0" not in device:
        assert said(seen, "en") == f"{device} cannot be used: it is no serial port (tty)"
        assert said(seen, "zh-CN") == f"{device} 无法使用：它不是串口（tty）"


def test_a_file_left_in_the_place_of_an_unplugged_port_is_no_port(host: Host, tmp_path: Path) -> None:
    (tmp_path / "ttyUSB0").write_text("written while the cable was out")
    assert look(host, device=str(tmp_path / "ttyUSB0")).measurements["why"] == "no_tty"
    assert look(host, device=str(tmp_path / "ttyUSB1")).measurements["why"] == "no_node"


def test_who_holds_a_port_is_said_in_words() -> None:
    wanted = SerialSettings(kind="serial", device="/dev/ttyS0")
    told = {
        name: KIND.judge(wanted, Reading("/dev/ttyS0", sight=sight), {})
        for name, sight in (
            ("free", Sight()),
            ("hidden", HIDDEN),
            ("held", Sight(holders=(Holder(7, "pos", "open"),))),
        )
    }
    assert {name: said(seen, "en") for name, seen in told.items()} == {
        "free": "/dev/ttyS0 is there; no program holds it",
        "hidden": "/dev/ttyS0 is there; this user may not see whether a program holds it",
        "held": "/dev/ttyS0 is there; held by: pos",
    }
    assert {name: said(seen, "zh-CN") for name, seen in told.items()} == {
        "free": "/dev/ttyS0 正常；未被任何程序占用",
        "hidden": "/dev/ttyS0 正常；该用户无权查看是否有程序占用",
        "held": "/dev/ttyS0 正常；占用程序：pos",
    }


# Ports of a fixture tree: what the tables of the kernel say.


def process(pid: int, name: str, *links: str, ppid: int = 1, command: str = "", flags: int = 0) -> dict[str, str]:
    """A process as /proc shows it, with these things open."""
    return {
        f"/proc/{pid}/comm": f"{name}\n",
        f"/proc/{pid}/cmdline": (command or f"/usr/bin/{name}").replace(" ", "\0") + "\0",
        f"/proc/{pid}/stat": f"{pid} ({name}) S {ppid} 1 1 0 -1 {flags} 0\n",
        f"/proc/{pid}/status": f"Name:\t{name}\nUid:\t1000\t1000\t1000\t1000\nGid:\t1000\t1000\t1000\t1000\nGroups:\t20 1000\n",
        f"/proc/{pid}/fd/0": "-> /dev/null",
        **{f"/proc/{pid}/fd/{number}": f"-> {link}" for number, link in enumerate(links, 3)},
    }


def test_an_on_board_port_tells_lines_and_errors(till: Tree) -> None:
    seen = look(till(TTYS0), device="/dev/ttyS0")
    assert seen.status is Status.OK
    assert seen.measurements["lines"] == ["RTS", "CTS", "DTR", "DSR", "CD"]
    assert seen.measurements["errors_total"] == 4
    assert seen.measurements["driver"] == "serial8250"


def test_lines_that_the_kernel_keeps_to_itself_are_not_down(till: Tree) -> None:
    bare = "serinfo:1.0 driver revision:\n0: uart:16550A port:000003F8 irq:4\n"
    seen = look(till({**TTYS0, "/proc/tty/driver/serial": bare}), device="/dev/ttyS0", lines=("DSR",))
    assert (seen.status, seen.reason) == (Status.UNKNOWN, "probe.denied")
    assert "CAP_SYS_ADMIN" in seen.detail


@pytest.mark.parametrize(
    ("machine", "device"),
    [
        pytest.param(TTYS0, "/dev/ttyUSB0", id="no node"),
        pytest.param(
            {**TTYS0, "/dev/ttyS1": "", "/sys/class/tty/ttyS1/type": "0\n", "/sys/class/tty/ttyS1/device/x": ""},
            "/dev/ttyS1",
            id="a node without a UART",
        ),
        pytest.param(
            {"/dev/serial/by-id/usb-PAX-if00": "-> ../../ttyACM0"}, "/dev/serial/by-id/usb-PAX-if00", id="dead link"
        ),
    ],
)
def test_a_port_that_is_not_there_is_absent(till: Tree, machine: dict[str, str], device: str) -> None:
    seen = look(till(machine), device=device)
    assert (seen.status, seen.reason) == (Status.FAIL, "serial.absent")


def test_a_link_by_id_leads_to_its_port(till: Tree) -> None:
    machine = {**TTYS0, "/dev/serial/by-id/pci-till-port0": "-> ../../ttyS0"}
    assert look(till(machine), device="/dev/serial/by-id/pci-till-port0").measurements["node"] == "/dev/ttyS0"


@pytest.mark.parametrize("hijacker", ["ModemManager", "brltty", "agetty"])
def test_known_hijackers_are_named_even_without_an_owner(till: Tree, hijacker: str) -> None:
    seen = look(till({**TTYS0, **process(812, hijacker, "/dev/ttyS0")}), device="/dev/ttyS0")
    assert (seen.reason, seen.measurements["taken_by"]) == ("serial.taken", hijacker)
    assert seen.evidence == (f"{hijacker} (pid 812, open)",)


def test_the_kernels_own_console_on_the_port_is_a_hijacker(till: Tree) -> None:
    seen = look(till({**TTYS0, "/sys/class/tty/console/active": "tty0 ttyS0\n"}), device="/dev/ttyS0")
    assert (seen.reason, seen.measurements["taken_by"]) == ("serial.taken", "kernel console")


def test_a_second_program_beside_the_owner_is_an_intruder(till: Tree) -> None:
    machine = {**TTYS0, **process(50, "posd", "/dev/ttyS0"), **process(60, "minicom", "/dev/ttyS0")}
    seen = look(till(machine), device="/dev/ttyS0", owner="posd")
    assert (seen.reason, seen.measurements["taken_by"]) == ("serial.taken", "minicom")


def test_what_the_owner_started_is_no_intruder(till: Tree) -> None:
    machine = {**TTYS0, **process(50, "posd"), **process(60, "worker", "/dev/ttyS0", ppid=50)}
    assert look(till(machine), device="/dev/ttyS0", owner="posd").reason == "ok"


@pytest.mark.parametrize(
    ("command", "owner"),
    [
        ("/opt/till/till-software-frontend", "till-software-frontend"),
        ("/usr/bin/java -Xmx512m -jar /opt/till/pos.jar", "pos.jar"),
        ("/usr/bin/python3 /opt/till/pos.py --port /dev/ttyS0", "pos.py"),
    ],
)
def test_the_owner_may_be_called_by_program_or_script(till: Tree, command: str, owner: str) -> None:
    name = Path(command.split(maxsplit=1)[0]).name[:15]
    machine = {**TTYS0, **process(50, name, "/dev/ttyS0", command=command)}
    assert look(till(machine), device="/dev/ttyS0", owner=owner).reason == "ok"


def test_an_owner_that_does_not_run_does_not_hold_its_port(till: Tree) -> None:
    seen = look(till({**TTYS0, **process(50, "bash")}), device="/dev/ttyS0", owner="posd")
    assert (seen.status, seen.reason) == (Status.FAIL, "serial.not_held")
    assert seen.evidence == ("no program called posd runs",)


def test_an_owner_that_still_holds_an_unplugged_port_is_found_out(till: Tree) -> None:
    machine = {**TTYS0, **process(50, "posd", "/dev/ttyS9 (deleted)")}
    seen = look(till(machine), device="/dev/ttyS0", owner="posd")
    assert seen.reason == "serial.not_held"
    assert seen.evidence == (
        "posd runs (pid 50) without the port",
        "posd (pid 50, dead node) still holds a port that was unplugged",
    )


def test_a_lock_file_of_a_dead_process_is_stale(till: Tree) -> None:
    machine = {**TTYS0, **process(50, "posd"), "/run/lock/LCK..ttyS0": "      4711\n"}
    seen = look(till(machine), device="/dev/ttyS0")
    assert seen.status is Status.OK
    assert seen.evidence == ("/run/lock/LCK..ttyS0 is left over from process 4711",)


def test_a_lock_file_of_its_holder_is_in_order(till: Tree) -> None:
    machine = {**TTYS0, **process(50, "posd", "/dev/ttyS0"), "/run/lock/LCK..ttyS0": "        50\n"}
    assert look(till(machine), device="/dev/ttyS0", owner="posd").evidence == ("posd (pid 50, open)",)


def test_counters_beyond_the_limit_are_told_within_an_hour() -> None:
    wanted = SerialSettings(kind="serial", device="/dev/ttyS0", max_errors=5)
    memory: Memory = {}
    reasons = []
    for now, errors in [(0, 100), (30, 103), (90, 106), (3000, 106), (3700, 106), (4000, 2)]:
        reading = Reading("/dev/ttyS0", uart=Uart("16550A", {"fe": errors}), now=now, boot="a")
        seen = KIND.judge(wanted, reading, memory)
        reasons.append((seen.reason, seen.measurements.get("errors_per_hour")))
        memory = msgspec.json.decode(msgspec.json.encode(seen.memory))
    assert reasons == [
        ("ok", None),
        ("ok", None),
        ("serial.errors", 6),
        ("serial.errors", 6),
        ("ok", None),
        ("ok", None),
    ]


def with_lines(*lines: str, boot: str = "a") -> Reading:
    return Reading("/dev/ttyS0", uart=Uart("16550A", {}, lines), boot=boot)


@pytest.mark.parametrize(
    ("settings", "readings", "expected"),
    [
        pytest.param(
            {"lines": ("DSR", "CTS")}, [with_lines("DSR")], (Status.FAIL, "serial.line_down"), id="CTS wanted"
        ),
        pytest.param({}, [with_lines("RTS")], (Status.OK, "ok"), id="never up: perhaps three wires"),
        pytest.param({}, [with_lines("DSR"), with_lines()], (Status.WARN, "serial.line_down"), id="DSR fell"),
        pytest.param({}, [with_lines("DSR"), with_lines(boot="b")], (Status.OK, "ok"), id="before this PC started"),
    ],
)
def test_lines_are_judged_by_what_is_known_of_them(
    settings: dict[str, Any], readings: list[Reading], expected: tuple[Status, str]
) -> None:
    memory: Memory = {}
    for reading in readings:
        seen = KIND.judge(SerialSettings(kind="serial", device="/dev/ttyS0", **settings), reading, memory)
        memory = seen.memory
    assert (seen.status, seen.reason) == expected


HIDDEN = Sight(hidden=7)


@pytest.mark.parametrize(
    ("settings", "reading", "expected"),
    [
        pytest.param(
            {"owner": "posd"},
            Reading("/dev/ttyS0", sight=HIDDEN, owners=(Owner(50, False),)),
            (Status.UNKNOWN, "probe.denied"),
            id="the owner's files are hidden",
        ),
        pytest.param(
            {"owner": "posd"},
            Reading("/dev/ttyS0", sight=Sight(nameless=True)),
            (Status.UNKNOWN, "probe.denied"),
            id="even names are hidden",
        ),
        pytest.param(
            {"owner": "posd"},
            Reading("/dev/ttyS0", sight=Sight((Holder(0, "?", "lock"),))),
            (Status.UNKNOWN, "probe.denied"),
            id="locked by somebody beyond this container",
        ),
        pytest.param(
            {"owner": "posd"},
            Reading("/dev/ttyS0", sight=HIDDEN, owners=(Owner(50, True),)),
            (Status.FAIL, "serial.not_held"),
            id="others are hidden, the owner is not",
        ),
        pytest.param(
            {"owner": "posd"},
            Reading("/dev/ttyS0", sight=HIDDEN, owners=(Owner(50, False, may_open=False),)),
            (Status.FAIL, "serial.denied"),
            id="the owner may not open it, whatever is hidden",
        ),
        pytest.param(
            {"owner": "posd", "lines": ("DSR",)},
            Reading("/dev/ttyS0", sight=HIDDEN, owners=(Owner(50, False),), uart=Uart("16550A")),
            (Status.FAIL, "serial.line_down"),
            id="the rest is judged all the same",
        ),
        pytest.param({}, Reading("/dev/ttyS0", sight=HIDDEN), (Status.OK, "ok"), id="nobody is expected"),
        pytest.param({}, Reading("/dev/ttyS0", only_owner=True), (Status.WARN, "serial.denied"), id="root's alone"),
        pytest.param(
            {"lines": ("DSR",)},
            Reading("/dev/ttyS0", uart_denied=True),
            (Status.UNKNOWN, "probe.denied"),
            id="no UART right",
        ),
        pytest.param(
            {"max_errors": 0},
            Reading("/dev/ttyACM0"),
            (Status.UNKNOWN, "probe.unsupported"),
            id="USB tells no counters",
        ),
    ],
)
def test_what_cannot_be_seen_is_never_guessed(
    settings: dict[str, Any], reading: Reading, expected: tuple[Status, str]
) -> None:
    seen = KIND.judge(SerialSettings(kind="serial", device=reading.node, **settings), reading, {})
    assert (seen.status, seen.reason) == expected
    if seen.reason == "probe.denied":
        assert "CAP_" in seen.detail


def test_what_is_hidden_is_said_with_the_right_that_shows_it() -> None:
    seen = KIND.judge(SerialSettings(kind="serial", device="/dev/ttyS0"), Reading("/dev/ttyS0", sight=HIDDEN), {})
    assert "holder" not in seen.measurements
    assert seen.measurements["why"] == "holder_hidden"
    assert seen.evidence == (
        "open files of 7 programs of other users are hidden; needs CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH",
    )


def test_ports_of_every_make_are_found_and_empty_places_are_not(till: Tree) -> None:
    usb = "/sys/devices/pci0000:00/usb1/1-1/1-1.2/1-1.2:1.0"
    machine = {
        **TTYS0,
        "/sys/class/tty/ttyS1/type": "0\n",
        "/sys/class/tty/ttyS1/device/x": "",
        "/sys/class/tty/ttymxc2/device/x": "",
        "/sys/class/tty/ttyTHS1/device/x": "",
        "/sys/class/tty/hvc0/device/x": "",
        "/sys/class/tty/tty7/dev": "4:7\n",
        f"{usb}/driver": "-> ../../../../../../bus/usb/drivers/cdc_acm",
        "/sys/class/tty/ttyACM0/device": "-> ../../../devices/pci0000:00/usb1/1-1/1-1.2/1-1.2:1.0",
        "/dev/serial/by-id/usb-PAX_USB_Serial-if00": "-> ../../ttyACM0",
    }
    found = {port.name: port for port in serial.ports(till(machine))}
    assert list(found) == ["ttyACM0", "ttyS0", "ttyTHS1", "ttymxc2"]
    assert found["ttyACM0"].usb_path == "1-1.2"
    assert found["ttyACM0"].driver == "cdc_acm"
    assert found["ttyACM0"].by_id == ("/dev/serial/by-id/usb-PAX_USB_Serial-if00",)


# Who may open a node, by the rules of acl(5).

CLERK = rights.Credentials(1000, frozenset({1000}))
ACL = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", *entry)
    for entry in [(1, 6, 0xFFFFFFFF), (2, 6, 1000), (4, 0, 0xFFFFFFFF), (16, 6, 0xFFFFFFFF), (32, 0, 0xFFFFFFFF)]
)


@pytest.mark.parametrize(
    ("who", "node", "expected"),
    [
        (CLERK, rights.Node(0, 20, 0o20660), False),
        (rights.Credentials(1000, frozenset({20})), rights.Node(0, 20, 0o20660), True),
        (CLERK, rights.Node(0, 20, 0o20666), True),
        (CLERK, rights.Node(1000, 20, 0o20060), False),
        (rights.Credentials(1000, frozenset({20})), rights.Node(0, 20, 0o20606), False),
        (rights.Credentials(0, frozenset({0}), overrides=True), rights.Node(7, 7, 0o20000), True),
        (CLERK, rights.Node(0, 20, 0o20660, rights.parse_access_list(ACL)), True),
        (
            rights.Credentials(1001, frozenset({1001})),
            rights.Node(0, 20, 0o20660, rights.parse_access_list(ACL)),
            False,
        ),
    ],
    ids=[
        "stranger",
        "in its group",
        "everybody",
        "owner without",
        "group without",
        "root",
        "named in the list",
        "not named",
    ],
)
def test_the_right_to_open_follows_mode_groups_and_access_list(
    who: rights.Credentials, node: rights.Node, expected: bool
) -> None:
    assert rights.may_open(who, node) is expected


def test_an_owner_outside_the_ports_group_is_denied(till: Tree) -> None:
    host = till({**TTYS0, **process(50, "posd")})
    node = host.path("/dev/ttyS0")
    os.chmod(node, 0o600)
    if os.stat(node).st_uid == 1000:  # whoever runs the tests owns the node
        host.path("/proc/50/status").write_text("Uid:\t7 7 7 7\nGid:\t7 7 7 7\n")
    seen = look(host, device="/dev/ttyS0", owner="posd")
    assert (seen.status, seen.reason) == (Status.FAIL, "serial.denied")
    assert str(seen.measurements["mode"]).startswith("-rw-------")


# Whatever the bytes, an answer comes back.

KERNEL_TEXT = st.one_of(
    st.text(max_size=200),
    st.lists(
        st.sampled_from(["0", "7:", "uart:", "16550A", " tx:1", " fe:x", "RTS|CTS", "|", "\n", "FLOCK ", "-1 "])
    ).map("".join),
)


@given(KERNEL_TEXT)
def test_parsers_of_proc_survive_any_text(text: str) -> None:
    assert isinstance(serial.parse_uarts(text), dict)
    assert isinstance(serial.parse_drivers(text), list)
    assert isinstance(list(holders.parse_locks(text)), list)
    assert rights.parse_status(text) is None or "Uid" in text


@given(st.binary(max_size=64))
def test_parsers_of_bytes_survive_any_bytes(content: bytes) -> None:
    pid = holders.parse_lock_file(content)
    assert pid is None or pid >= 0
    assert isinstance(rights.parse_access_list(content), tuple)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"      4711\n", 4711),
        (b"4711", 4711),
        (b"4711 minicom root\n", 4711),
        (b"\x67\x12\x00\x00", 4711),
        (b"", None),
        (b"pos\n", None),
    ],
)
def test_lock_files_of_all_styles_are_read(content: bytes, expected: int | None) -> None:
    assert holders.parse_lock_file(content) == expected


def test_real_lines_of_the_kernel_are_read() -> None:
    assert serial.parse_uarts(UART) == {
        0: Uart("16550A", {"fe": 1, "pe": 0, "brk": 3, "oe": 0}, ("RTS", "CTS", "DTR", "DSR", "CD"))
    }
    assert list(
        holders.parse_locks(
            "1: FLOCK  ADVISORY  WRITE 812 00:05:1234 0 EOF\n"
            "1: -> FLOCK  ADVISORY  WRITE 900 00:05:1234 0 EOF\n"
            "2: POSIX  ADVISORY  READ  77 fe:01:99 128 128\n"
        )
    ) == [(812, 0, 5, 1234), (77, 0xFE, 1, 99)]
    assert serial.parse_drivers("/dev/tty             /dev/tty        5       0 system:/dev/tty\n")[0][0] == "/dev/tty"
