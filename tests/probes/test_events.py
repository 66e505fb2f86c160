"""What is an event and what is the kernel only repeating itself? Recorded messages, damaged ones, and real sockets."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.host import events, netlink
from probes.host.events import OVERRUN, TOPICS, Devices, Event, Network

USB = b"add@/devices/usb1/1-1\0ACTION=add\0DEVPATH=/devices/usb1/1-1\0SUBSYSTEM=usb\0DEVTYPE=usb_device\0SEQNUM=7\0"
TTY = b"remove@/devices/tty/ttyACM0\0ACTION=remove\0DEVPATH=/devices/tty/ttyACM0\0SUBSYSTEM=tty\0SEQNUM=8\0"
DISK = b"change@/devices/loop0\0ACTION=change\0DEVPATH=/devices/loop0\0SUBSYSTEM=block\0SEQNUM=9\0"


def battery(status: str, percent: int, millivolt: int) -> bytes:
    at = "/devices/BAT0"
    words = (
        f"change@{at}",
        "ACTION=change",
        f"DEVPATH={at}",
        "SUBSYSTEM=power_supply",
        f"POWER_SUPPLY_STATUS={status}",
        f"POWER_SUPPLY_CAPACITY={percent}",
        f"POWER_SUPPLY_VOLTAGE_NOW={millivolt}000",
    )
    return "".join(f"{word}\0" for word in words).encode()


def by_udevd(properties: bytes) -> bytes:
    return b"libudev\0\xfe\xed\xca\xfe" + struct.pack("=IIIIIII", 40, 40, len(properties), 1, 2, 3, 4) + properties


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def message(kind: int, body: bytes) -> bytes:
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


def link(flags: int = 0x11043, operation: int = 6, carrier: int = 1, *, counter: int = 0, family: int = 0) -> bytes:
    return (
        struct.pack("=BBHiII", family, 0, 1, 2, flags, 0)
        + attribute(3, b"eth0\0")
        + attribute(16, bytes([operation]))
        + attribute(33, bytes([carrier]))
        + attribute(7, struct.pack("=I", counter))
    )


def address(last: int = 10, flags: int = 0x80, lifetime: int = 600) -> bytes:
    number = bytes([192, 0, 2, last])
    cache = attribute(6, struct.pack("=IIII", lifetime, lifetime, 0, 0))
    return struct.pack("=BBBBI", 2, 24, flags, 0, 2) + attribute(1, number) + attribute(2, number) + cache


def route(gateway: int = 1, *, kind: int = 1, flags: int = 0, expires: int = 0) -> bytes:
    return (
        struct.pack("=BBBBBBBBI", 2, 0, 0, 0, 254, 16, 0, kind, flags)
        + attribute(4, struct.pack("=I", 2))
        + attribute(5, bytes([192, 0, 2, gateway]))
        + attribute(12, struct.pack("=IIII", expires, 0, 0, 0))
    )


class Wire:
    """The kernel's end: datagrams or errors that the socket hands out one after the other."""

    def __init__(self, *told: bytes | OSError, groups: int = 1) -> None:
        self.told = list(told)
        self.groups = groups

    def recvfrom(self, _size: int) -> tuple[bytes, tuple[int, int]]:
        if not self.told:
            raise BlockingIOError
        given = self.told.pop(0)
        if isinstance(given, OSError):
            raise given
        return given, (0, self.groups)

    def close(self) -> None:
        pass


@pytest.fixture
def devices() -> Iterator[Devices]:
    made = Devices.__new__(Devices)
    made._known = events._Known()
    yield made


@pytest.fixture
def network() -> Iterator[Network]:
    made = Network.__new__(Network)
    made._known = events._Known()
    yield made


def told(source: Devices | Network, *words: bytes | OSError, groups: int = 1) -> list[Event]:
    source._socket = Wire(*words, groups=groups)  # type: ignore[assignment]
    return source.take()[0]


def test_a_plug_is_told_by_the_kernel_and_again_by_udevd_when_dev_is_ready(devices: Devices) -> None:
    assert told(devices, USB, by_udevd(b"SUBSYSTEM=usb\0ACTION=add\0DEVPATH=/devices/usb1/1-1\0")) == [
        Event("usb", "add 1-1"),
        Event("usb", "add 1-1"),
    ]


def test_a_serial_port_that_goes_is_an_event(devices: Devices) -> None:
    assert told(devices, TTY) == [Event("tty", "remove ttyACM0")]


def test_other_subsystems_are_nobodys_business(devices: Devices) -> None:
    assert told(devices, DISK, by_udevd(b"ACTION=add\0SUBSYSTEM=net\0DEVPATH=/devices/eth0\0")) == []


def test_what_another_program_sends_to_us_alone_is_not_believed(devices: Devices) -> None:
    assert told(devices, USB, groups=0) == []


def test_a_battery_wakes_for_its_charge_and_not_for_each_millivolt(devices: Devices) -> None:
    seen = told(
        devices,
        battery("Discharging", 80, 11900),
        battery("Discharging", 80, 11899),
        battery("Discharging", 79, 11890),
        battery("Charging", 79, 12100),
        battery("Charging", 79, 12110),
    )
    assert seen == [Event("power_supply", "change BAT0")] * 3


def test_a_cable_pulled_is_an_event_and_its_counters_are_not(network: Network) -> None:
    out = link(flags=0x1003, operation=2, carrier=0)
    seen = told(
        network,
        message(16, link()),
        message(16, link(counter=5)),
        message(16, link(flags=0x11143)),  # promiscuous
        message(16, out),
        message(16, out),
        message(17, out),
    )
    assert seen == [
        Event("link", "eth0 up"),
        Event("link", "eth0 down, no carrier"),
        Event("link", "eth0 gone"),
    ]


def test_a_bridges_word_about_its_ports_is_no_change_of_the_link(network: Network) -> None:
    assert told(network, message(16, link(family=7)), message(17, link(family=7))) == []


def test_a_renewed_lease_is_no_event_and_a_lost_address_is(network: Network) -> None:
    seen = told(
        network,
        message(20, address(lifetime=600)),
        message(20, address(lifetime=599)),
        message(21, address()),
        message(20, address(last=11)),
    )
    assert seen == [
        Event("address", "192.0.2.10/24 usable"),
        Event("address", "192.0.2.10/24 gone"),
        Event("address", "192.0.2.11/24 usable"),
    ]


def test_a_duplicate_address_is_told(network: Network) -> None:
    body = struct.pack("=BBBBI", 10, 64, 0x80, 0, 2) + attribute(1, bytes.fromhex("20010db8") + bytes(11) + b"\x0a")
    double = struct.pack("=BBBBI", 10, 64, 0x88, 0, 2) + body[8:]
    assert [event.what for event in told(network, message(20, body), message(20, double))] == [
        "2001:db8::a/64 usable",
        "2001:db8::a/64 duplicate",
    ]


def test_a_route_replaced_and_put_back_are_two_events(network: Network) -> None:
    seen = told(
        network,
        message(24, route(1)),
        message(24, route(1, expires=90)),
        message(24, route(2)),
        message(24, route(1)),
        message(25, route(1)),
    )
    assert [event.what for event in seen] == [
        "default via 192.0.2.1 set",
        "default via 192.0.2.2 set",
        "default via 192.0.2.1 set",
        "default via 192.0.2.1 gone",
    ]


def test_local_routes_and_cached_ones_are_no_events(network: Network) -> None:
    assert told(network, message(24, route(kind=2)), message(24, route(kind=3)), message(24, route(flags=0x200))) == []


def test_after_lost_messages_everything_may_have_changed(network: Network) -> None:
    lost = OSError(errno.ENOBUFS, "No buffer space available")
    seen = told(network, message(16, link()), lost, message(16, link()))
    assert seen[0] == seen[-1] == Event("link", "eth0 up")  # known before; told again it may be new
    assert seen[1:-1] == [Event("link", OVERRUN), Event("address", OVERRUN), Event("route", OVERRUN)]


def test_lost_device_events_do_not_send_anyone_to_the_network(devices: Devices) -> None:
    lost = OSError(errno.ENOBUFS, "No buffer space available")
    assert told(devices, lost, DISK) == [Event("usb", OVERRUN), Event("tty", OVERRUN), Event("power_supply", OVERRUN)]


def test_another_error_is_not_swallowed(network: Network) -> None:
    with pytest.raises(OSError, match="Bad file descriptor"):
        told(network, OSError(errno.EBADF, "Bad file descriptor"))


def test_what_is_kept_is_bounded() -> None:
    known = events._Known()
    for number in range(3 * events.KNOWN):
        known.changed(number, "up")
    assert len(known._states) <= events.KNOWN


@given(st.binary(max_size=400))
def test_whatever_the_bytes_nothing_breaks(data: bytes) -> None:
    for source, kept in ((Devices.__new__(Devices), data), (Network.__new__(Network), data)):
        source._known = events._Known()
        assert all(event.topic in TOPICS for event in told(source, kept, by_udevd(kept)))


@given(st.sampled_from([16, 17, 20, 21, 24, 25]), st.binary(max_size=200))
def test_whatever_the_body_of_a_message_nothing_breaks(kind: int, body: bytes) -> None:
    source = Network.__new__(Network)
    source._known = events._Known()
    assert all(event.topic in TOPICS for event in told(source, message(kind, body)))


@given(st.data())
def test_whatever_bits_flip_nothing_breaks(data: st.DataObject) -> None:
    whole = data.draw(
        st.sampled_from([USB, by_udevd(USB), message(16, link()), message(20, address()), message(24, route())])
    )
    broken = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        broken[data.draw(st.integers(0, len(broken) - 1))] = data.draw(st.integers(0, 255))
    for source in (Devices.__new__(Devices), Network.__new__(Network)):
        source._known = events._Known()
        told(source, bytes(broken))


def test_the_real_socket_opens_for_everybody_and_knows_the_loopback() -> None:
    with contextlib.closing(Network()) as network:
        assert ("link", 1) in network._known._states
        assert os.get_blocking(network.fileno()) is False


def test_a_port_that_is_taken_leaves_no_socket_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "LINKS", 1 << 31)  # no such group
    before = len(os.listdir("/proc/self/fd"))
    with contextlib.suppress(OSError):
        Network().close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_container_whose_network_is_not_the_real_roots_is_deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = os.open("/proc/self/ns/user", os.O_RDONLY)
    monkeypatch.setattr(events.fcntl, "ioctl", lambda _fd, _what: os.dup(kept))
    monkeypatch.setattr(events, "_INITIAL_USER_NAMESPACE", os.fstat(kept).st_ino)
    assert events._deaf() == ""
    monkeypatch.setattr(events, "_INITIAL_USER_NAMESPACE", 1)
    with pytest.raises(OSError, match="device events do not reach this container"):
        Devices()
    os.close(kept)


def test_an_old_kernel_that_cannot_say_is_believed_to_hear(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_fd: int, _what: int) -> int:
        raise OSError(errno.ENOTTY, "Inappropriate ioctl for device")

    monkeypatch.setattr(events.fcntl, "ioctl", refuse)
    assert events._deaf() == ""


def test_a_family_that_is_refused_raises() -> None:
    with pytest.raises(OSError) as caught:
        events._subscribe(31, 1)  # no netlink protocol has this number
    assert caught.value.errno == errno.EPROTONOSUPPORT
    assert netlink.ROUTE == 0 and socket.AF_NETLINK == 16
