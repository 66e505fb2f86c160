"""dns: what each resolver answers, what this PC's own path answers, and what the two together mean for the till."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes import dns as kind
from probes.dns import KIND, DnsSettings, Reading
from probes.host import Host
from probes.host import dns as door
from probes.host.dns import Answer, Resolvers
from probes.model import Status
from tests.probes.datagrams import Reply, answering, nobody, silent

NAME = "auth.acquirer.example"
PUBLIC, OTHER, PRIVATE = "203.0.113.11", "203.0.113.12", "10.0.0.7"
FIRST, SECOND = "192.0.2.53", "192.0.2.54"


def settings(**given: object) -> DnsSettings:
    return DnsSettings(**{"kind": "dns", "name": NAME, **given})  # type: ignore[arg-type]


def judge(reading: Reading, **given: object) -> tuple[Status, str]:
    seen = KIND.judge(settings(**given), reading, {})
    assert seen.reason == "ok" or seen.reason in KIND.reasons
    return seen.status, seen.reason


def answer(question: bytes, *addresses: str, rcode: int = 0, flags: int = 0) -> bytes:
    """What an honest server sends: the addresses of the asked family, or an error."""
    made = dns.message.make_response(dns.message.from_wire(question))
    made.flags |= flags
    made.set_rcode(dns.rcode.Rcode(rcode))
    asked = made.question[0]
    mine = [address for address in addresses if (":" in address) == (asked.rdtype == 28)]
    if mine:
        made.answer.append(dns.rrset.from_text(asked.name, 60, "IN", "AAAA" if asked.rdtype == 28 else "A", *mine))
    return made.to_wire()


def asked_name(question: bytes) -> str:
    return dns.message.from_wire(question).question[0].name.to_text().rstrip(".")


def zone(**names: tuple[str, ...]) -> Reply:
    """A server that knows these names (underscore for dot) and no other."""

    def reply(question: bytes) -> Iterable[bytes]:
        name = asked_name(question)
        known = names.get(name.replace(".", "_").replace("-", "_"))
        yield answer(question, rcode=3) if known is None else answer(question, *known)

    return reply


def always(*addresses: str, rcode: int = 0) -> Reply:
    return lambda question: [answer(question, *addresses, rcode=rcode)]


def ask(reply: Reply, name: str = NAME, seconds: float = 3, canary: bool = True) -> Answer:
    with answering(reply) as port:
        return door.ask(Host(ends=time.monotonic() + seconds), ("127.0.0.1", port), (name,), canary)


# --- one resolver, asked directly ---------------------------------------------------------------------------------------


def test_both_families_are_asked_for_and_a_name_that_does_not_exist_is_not_answered() -> None:
    found = ask(zone(auth_acquirer_example=(PUBLIC, "2001:db8::11")))
    assert found.outcome == "addresses"
    assert found.addresses == (PUBLIC, "2001:db8::11")
    assert found.canary == ()
    assert 0 < found.seconds < 1


@pytest.mark.parametrize(
    ("reply", "outcome", "detail"),
    [
        pytest.param(always(rcode=3), "no_such_name", "NXDOMAIN", id="no such name"),
        pytest.param(always(), "no_address", "no address", id="a name without addresses"),
        pytest.param(always(rcode=2), "servfail", "SERVFAIL", id="servfail"),
        pytest.param(always(rcode=5), "refused", "REFUSED", id="refused by policy"),
        pytest.param(always(rcode=4), "servfail", "NOTIMP", id="a server that cannot"),
    ],
)
def test_each_kind_of_no_is_its_own_answer(reply: Reply, outcome: str, detail: str) -> None:
    found = ask(reply)
    assert found.outcome == outcome
    assert detail in found.detail


def test_a_port_where_nothing_listens_is_refused_at_once() -> None:
    with nobody() as port:
        began = time.monotonic()
        found = door.ask(Host(), ("127.0.0.1", port), (NAME,))
    assert found.outcome == "refused"
    assert "ICMP" in found.detail
    assert time.monotonic() - began < 0.5


def test_a_silent_resolver_costs_its_deadline_and_no_more() -> None:
    with answering(silent) as port:
        began = time.monotonic()
        found = door.ask(Host(ends=began + 0.5), ("127.0.0.1", port), (NAME,))
        elapsed = time.monotonic() - began
    assert found.outcome == "timeout"
    assert 0.4 < elapsed < 1.0


def test_one_lost_packet_is_no_verdict() -> None:
    seen: dict[bytes, int] = {}

    def loses_the_first(question: bytes) -> Iterable[bytes]:
        seen[question] = seen.get(question, 0) + 1
        return [answer(question, PUBLIC)] if seen[question] > 1 else []

    assert ask(loses_the_first, canary=False).outcome == "addresses"


def test_a_middlebox_that_drops_aaaa_is_named() -> None:
    def only_a(question: bytes) -> Iterable[bytes]:
        return [answer(question, PUBLIC)] if dns.message.from_wire(question).question[0].rdtype == 1 else []

    found = ask(only_a, seconds=0.5)
    assert found.addresses == (PUBLIC,)
    assert found.silent == ("AAAA",)


def test_forged_and_foreign_answers_are_waited_past() -> None:
    def forger(question: bytes) -> Iterable[bytes]:
        good = answer(question, PUBLIC)
        yield b"\x00"
        yield bytes([good[0] ^ 1]) + answer(question, PRIVATE)[1:]  # another id
        yield answer(
            dns.message.make_query("elsewhere.example", "A", id=int.from_bytes(good[:2], "big")).to_wire(), PRIVATE
        )
        yield question  # our own question, echoed
        yield good

    assert ask(forger).addresses == (PUBLIC,)


def test_answers_that_cannot_be_read_are_silence_with_a_reason() -> None:
    found = ask(lambda question: [question[:2] + b"\x84\x00\xff\xff" * 4], seconds=0.4)
    assert found.outcome == "timeout"
    assert "unreadable" in found.detail


@contextlib.contextmanager
def over_tcp(reply: Callable[[bytes], bytes | None]) -> Iterator[int]:
    """A server that truncates over UDP and says the rest over TCP, on the same port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(5)

        def serve() -> None:
            with contextlib.suppress(OSError):
                for _ in range(3):
                    peer, _ = server.accept()
                    with peer:
                        (length,) = struct.unpack("!H", peer.recv(2))
                        said = reply(peer.recv(length))
                        if said is not None:
                            peer.sendall(said)

        thread = threading.Thread(target=serve)
        thread.start()
        port = server.getsockname()[1]
        with answering(lambda question: [answer(question, flags=dns.flags.TC)], port=port):
            yield port
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_a_truncated_answer_is_asked_for_again_over_tcp() -> None:
    many = tuple(f"203.0.113.{number}" for number in range(100))

    def whole(question: bytes) -> bytes:
        said = answer(question, *many)
        return struct.pack("!H", len(said)) + said

    with over_tcp(whole) as port:
        found = door.ask(Host(), ("127.0.0.1", port), (NAME,))
    assert set(found.addresses) == set(many)


@pytest.mark.parametrize("said", [None, b"\x00\x20abc", b"\x00\x04abcd"], ids=["closes", "breaks off", "nonsense"])
def test_a_server_that_fails_over_tcp_gives_a_reason(said: bytes | None) -> None:
    with over_tcp(lambda _: said) as port:
        found = door.ask(Host(), ("127.0.0.1", port), (NAME,))
    assert found.outcome == "servfail"
    assert "over TCP" in found.detail


def test_truncation_without_tcp_is_a_time_out_that_says_so() -> None:
    found = ask(lambda question: [answer(question, flags=dns.flags.TC)], canary=False)
    assert found.outcome == "timeout"
    assert "TCP failed" in found.detail


def test_a_name_without_a_dot_is_found_in_its_search_domain() -> None:
    with answering(zone(pos_server_shop_lan=("192.168.5.9",))) as port:
        found = door.ask(Host(), ("127.0.0.1", port), ("pos-server.shop.lan", "pos-server"))
    assert found.addresses == ("192.168.5.9",)


@pytest.mark.parametrize("name", ["a" * 64 + ".example", "a..example", "x." * 130])
def test_what_cannot_be_a_name_is_said_not_raised(name: str) -> None:
    assert door.ask(Host(), ("127.0.0.1", 9), (name,)).outcome == "no_such_name"


@given(st.binary(max_size=600))
def test_whatever_bytes_come_the_packet_reader_answers_or_refuses(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        door._addresses(door._read(data))


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=8), st.integers(0, 250))
def test_whatever_is_damaged_in_a_good_packet_the_reader_answers_or_refuses(
    damage: list[tuple[int, int]], cut: int
) -> None:
    question = dns.message.make_query(NAME, "A", id=7).to_wire()
    wire = bytearray(answer(question, PUBLIC, OTHER))
    for place, value in damage:
        wire[place % len(wire)] = value
    with contextlib.suppress(ValueError):
        door._addresses(door._read(bytes(wire[: len(wire) - cut % len(wire)])))


# --- resolv.conf --------------------------------------------------------------------------------------------------------


def test_resolv_conf_is_read_as_the_c_library_reads_it() -> None:
    text = (
        "# made by hand\nnameserver 192.0.2.53 # main\n nameserver 2001:db8::53\nnameserver fe80::1%eth0\n"
        "nameserver dns.example\nnameserver\ndomain old.example\nsearch shop.lan hq.example.\noptions timeout:1\n;end"
    )
    assert door.parse(text) == Resolvers(("192.0.2.53", "2001:db8::53", "fe80::1%eth0"), ("shop.lan", "hq.example"))


@given(st.text(max_size=300))
def test_any_text_is_a_resolv_conf(text: str) -> None:
    assert all(" " not in server for server in door.parse(text).servers)


def test_the_upstreams_behind_the_systemd_stub_are_asked_as_well(tree: Callable[[dict[str, str]], Host]) -> None:
    machine = tree(
        {
            "/etc/resolv.conf": "nameserver 127.0.0.53\nsearch lan\n",
            "/run/systemd/resolve/resolv.conf": "nameserver 192.0.2.53\nnameserver 192.0.2.54\n",
        }
    )
    assert door.configured(machine) == Resolvers(("127.0.0.53", FIRST, SECOND), ("lan",), "127.0.0.53")


def test_a_stub_whose_upstreams_are_not_written_down_stands_for_itself(tree: Callable[[dict[str, str]], Host]) -> None:
    assert door.configured(tree({"/etc/resolv.conf": "nameserver 127.0.0.53\n"})).servers == ("127.0.0.53",)


def test_the_c_library_heeds_three_resolvers(tree: Callable[[dict[str, str]], Host]) -> None:
    machine = tree({"/etc/resolv.conf": "".join(f"nameserver 192.0.2.{n}\n" for n in (1, 2, 3, 4))})
    assert door.configured(machine).servers == ("192.0.2.1", "192.0.2.2", "192.0.2.3")


# --- the whole kind -----------------------------------------------------------------------------------------------------


def test_only_the_given_server_is_asked(host: Host) -> None:
    with answering(zone(auth_acquirer_example=(PUBLIC,))) as port:
        reading = KIND.read(settings(server=f"127.0.0.1:{port}"), host)
    assert reading.system is None
    assert [answer.server for answer in reading.answers] == [f"127.0.0.1:{port}"]
    assert judge(reading) == (Status.OK, "ok")


def test_every_configured_resolver_is_asked_at_the_same_time(
    tree: Callable[[dict[str, str]], Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = tree({"/etc/resolv.conf": "nameserver 127.0.0.1\nnameserver 127.0.0.2\nnameserver 127.0.0.3\n"})
    with answering(zone(auth_acquirer_example=(PUBLIC,)), "127.0.0.1") as port, answering(silent, "127.0.0.2", port):
        monkeypatch.setattr(door, "PORT", port)
        began = time.monotonic()
        reading = KIND.read(settings(), Host(root=machine.root, ends=began + 1))
        elapsed = time.monotonic() - began
    assert elapsed < 1
    assert [answer.outcome for answer in reading.answers] == ["addresses", "timeout", "refused"]
    seen = KIND.judge(settings(), reading, {})
    assert (seen.status, seen.reason) == (Status.WARN, "dns.timeout")
    assert seen.measurements["server"] == "127.0.0.2"
    assert seen.measurements["servers_answering"] == 1


def test_the_deadline_holds_when_everything_is_silent() -> None:
    with answering(silent) as port:
        began = time.monotonic()
        reading = KIND.read(settings(server=f"127.0.0.1:{port}"), Host(ends=began + 0.6))
        elapsed = time.monotonic() - began
    assert elapsed < 0.6
    assert judge(reading) == (Status.FAIL, "dns.timeout")


def test_a_resolver_that_knows_every_name_is_unmasked(host: Host) -> None:
    with answering(always(PUBLIC)) as port:
        reading = KIND.read(settings(server=f"127.0.0.1:{port}"), host)
    assert judge(reading) == (Status.FAIL, "dns.wrong_answer")


def test_this_pcs_own_lookup_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def hangs(*_: object, **__: object) -> list[object]:
        release.wait(10)
        return []

    with monkeypatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", hangs)
        began = time.monotonic()
        found = kind._system(Host(ends=began + 0.3), NAME)
        elapsed = time.monotonic() - began
        release.set()
    assert found.outcome == "timeout"
    assert elapsed < 0.6


# --- what it means ------------------------------------------------------------------------------------------------------


def good(server: str = FIRST, *addresses: str, seconds: float = 0.02, **more: object) -> Answer:
    return Answer(server, "addresses", "", addresses or (PUBLIC,), seconds, **more)  # type: ignore[arg-type]


def bad(outcome: str, server: str = FIRST) -> Answer:
    return Answer(server, outcome, "said so")


SYSTEM = good(kind.SYSTEM)


@pytest.mark.parametrize(
    ("reading", "expected"),
    [
        pytest.param(Reading((good(),), SYSTEM), (Status.OK, "ok"), id="well"),
        pytest.param(
            Reading((good(),), good(kind.SYSTEM, seconds=0.9)), (Status.WARN, "dns.slow"), id="slow for programs"
        ),
        pytest.param(Reading((good(seconds=0.9),)), (Status.WARN, "dns.slow"), id="slow resolver"),
        pytest.param(Reading((good(seconds=0.9), good(SECOND)), SYSTEM), (Status.OK, "ok"), id="one slow of two"),
        pytest.param(
            Reading((bad("timeout"),), bad("timeout", kind.SYSTEM)), (Status.FAIL, "dns.timeout"), id="silent"
        ),
        pytest.param(
            Reading((bad("refused"),), bad("servfail", kind.SYSTEM)), (Status.FAIL, "dns.refused"), id="crashed"
        ),
        pytest.param(
            Reading((bad("servfail"),), bad("servfail", kind.SYSTEM)), (Status.FAIL, "dns.servfail"), id="servfail"
        ),
        pytest.param(Reading((bad("no_such_name"),)), (Status.FAIL, "dns.no_such_name"), id="no such name"),
        pytest.param(Reading((bad("no_address"),)), (Status.FAIL, "dns.no_address"), id="no address"),
        pytest.param(
            Reading((bad("timeout"), good(SECOND)), bad("timeout", kind.SYSTEM)),
            (Status.WARN, "dns.timeout"),
            id="the first of two dead: programs wait for it, then get their answer",
        ),
        pytest.param(
            Reading((bad("timeout"), bad("no_such_name", SECOND)), bad("timeout", kind.SYSTEM)),
            (Status.FAIL, "dns.no_such_name"),
            id="one dead, the other knows of no such name",
        ),
        pytest.param(
            Reading((good(),), bad("timeout", kind.SYSTEM)), (Status.FAIL, "dns.timeout"), id="programs get no answer"
        ),
        pytest.param(
            Reading((good(silent=("AAAA",)),), bad("timeout", kind.SYSTEM)),
            (Status.WARN, "dns.slow"),
            id="AAAA dropped",
        ),
        pytest.param(
            Reading((good(),), good(kind.SYSTEM, PRIVATE)),
            (Status.FAIL, "dns.private_answer"),
            id="programs are misled",
        ),
        pytest.param(
            Reading((good(), good(SECOND, PRIVATE)), SYSTEM), (Status.WARN, "dns.private_answer"), id="one of two lies"
        ),
        pytest.param(Reading((good(FIRST, PRIVATE),)), (Status.FAIL, "dns.private_answer"), id="RFC 1918"),
        pytest.param(Reading((good(FIRST, "100.64.1.1"),)), (Status.FAIL, "dns.private_answer"), id="carrier NAT"),
        pytest.param(Reading((good(FIRST, "0.0.0.0"),)), (Status.FAIL, "dns.private_answer"), id="a filter's nowhere"),
        pytest.param(Reading((good(FIRST, "::1"),)), (Status.FAIL, "dns.private_answer"), id="loopback"),
        pytest.param(Reading((good(FIRST, "fd00::7"),)), (Status.FAIL, "dns.private_answer"), id="unique local"),
        pytest.param(
            Reading((good(),), gateways=(PUBLIC,)), (Status.FAIL, "dns.private_answer"), id="the gateway's own address"
        ),
        pytest.param(Reading((good(FIRST, PRIVATE),), local=True), (Status.OK, "ok"), id="a name of the store's own"),
        pytest.param(
            Reading((good(canary=(PUBLIC,)),)), (Status.FAIL, "dns.wrong_answer"), id="the same for every name"
        ),
        pytest.param(Reading((good(canary=(OTHER,)),)), (Status.OK, "ok"), id="a provider's search page for typos"),
        pytest.param(
            Reading((bad("no_such_name"),), SYSTEM), (Status.OK, "ok"), id="from the hosts file, resolvers alive"
        ),
        pytest.param(
            Reading((bad("timeout"),), SYSTEM), (Status.FAIL, "dns.timeout"), id="from the hosts file, resolvers dead"
        ),
        pytest.param(Reading(), (Status.FAIL, "dns.no_resolver"), id="nothing configured"),
        pytest.param(
            Reading((), bad("servfail", kind.SYSTEM)), (Status.FAIL, "dns.no_resolver"), id="nothing configured, asked"
        ),
        pytest.param(Reading((), SYSTEM), (Status.OK, "ok"), id="nothing configured, but the name is known"),
    ],
)
def test_what_resolvers_and_system_together_mean(reading: Reading, expected: tuple[Status, str]) -> None:
    assert judge(reading) == expected


@pytest.mark.parametrize(
    ("addresses", "expect", "expected"),
    [
        ((PRIVATE,), (PRIVATE,), "ok"),
        ((PRIVATE,), ("10.0.0.0/8",), "ok"),
        ((PUBLIC,), ("203.0.113.0/24",), "ok"),
        ((PUBLIC, "198.51.100.9"), ("203.0.113.0/24",), "dns.wrong_answer"),
        ((PUBLIC, "2001:db8::1"), ("203.0.113.0/24",), "ok"),
        (("2001:db8::1",), ("2001:db8:ff::/48",), "dns.wrong_answer"),
    ],
)
def test_expected_addresses_are_the_only_right_ones(
    addresses: tuple[str, ...], expect: tuple[str, ...], expected: str
) -> None:
    assert judge(Reading((good(FIRST, *addresses),)), expect=expect)[1] == expected


def test_this_pcs_own_firewall_is_a_measurement() -> None:
    blocked = Answer(FIRST, "refused", "forbidden", blocked_here=True)
    seen = KIND.judge(settings(), Reading((blocked,)), {})
    assert seen.measurements["blocked_here"] is True


@pytest.mark.parametrize(
    ("name", "search", "local"),
    [
        ("pos-server", (), True),
        ("till7.local", (), True),
        ("printer.shop.lan", (), True),
        ("printer.hq.example", ("hq.example",), True),
        ("auth.acquirer.example", ("hq.example",), False),
        ("nothq.example", ("hq.example",), False),
        ("www.lan.example", (), False),
    ],
)
def test_whose_name_it_is(name: str, search: tuple[str, ...], local: bool) -> None:
    from probes import names

    assert names.is_local(name, search) is local


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"name": "192.0.2.1"}, "name"),
        ({"server": "dns.example"}, "server"),
        ({"server": "192.0.2.1:99999"}, "server"),
        ({"expect": ("192.0.2.999",)}, "expect"),
    ],
)
def test_settings_that_cannot_work_are_named(given: dict[str, object], key: str) -> None:
    assert [problem[0] for problem in KIND.problems(settings(**given))] == [key]


def test_settings_that_can_work_are_not_complained_of() -> None:
    for server in ("192.0.2.1", "192.0.2.1:53", "2001:db8::1", "[2001:db8::1]:53"):
        assert list(KIND.problems(settings(server=server, expect=("10.0.0.0/8", "2001:db8::/32")))) == []
