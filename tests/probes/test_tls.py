"""tls: every fault of a certificate and of a handshake, on real servers."""

from __future__ import annotations

import contextlib
import datetime
import socket
import ssl
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from cryptography import x509 as crypto
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from probes.host import Host, tls
from probes.host.tcp import Attempt, Reach
from probes.host.tls import Handshake
from probes.model import Memory, Observation, Status, Unsupported
from probes.tls import KIND, Reading, TlsSettings
from probes.x509 import Certificate, Name
from tests.probes import talk

DAY = 86400


class Pki:
    """An acquirer's authority, and a stranger's."""

    def __init__(self, home: Path) -> None:
        self.root = trustme.CA(organization_name="Acquirer Trust", organization_unit_name="Root")
        self.child = self.root.create_child_ca()
        self.stranger = trustme.CA(organization_name="Box Inspector", organization_unit_name="Root")
        self.ca_file = home / "acquirer.pem"
        self.root.cert_pem.write_to_path(str(self.ca_file))
        self.both = home / "both.pem"
        for authority in (self.root, self.stranger):
            authority.cert_pem.write_to_path(str(self.both), append=True)
        self.good = self.root.issue_cert("127.0.0.1", "localhost", not_after=talk.days(90))


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(autouse=True)
def _no_warnings_about_old_protocols() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, message="ssl.TLSVersion")
        yield


def look(host: Host, port: int, ca_file: Path, memory: Memory | None = None, **settings: Any) -> Observation:
    asked = TlsSettings(kind="tls", host="127.0.0.1", port=port, ca_file=str(ca_file), **settings)
    return KIND.judge(asked, KIND.read(asked, host), memory or {})


def look_at(
    host: Host, server: talk.Talk, pki: Pki, memory: Memory | None = None, **settings: Any
) -> tuple[Observation, list[bytes]]:
    with talk.serving(server) as (port, left):
        told = {**memory, "target": f"127.0.0.1:{port}"} if memory else None
        seen = look(host, port, settings.pop("trusting", pki.ca_file), told, **settings)
    return seen, left


def leaf_server(leaf: trustme.LeafCert, **how: Any) -> talk.Talk:
    return talk.tls(talk.server_context(leaf, **how))


def self_signed() -> tuple[bytes, bytes]:
    """Certificate and key, as a router's own page has them."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = crypto.Name([crypto.NameAttribute(crypto.NameOID.COMMON_NAME, "router.lan")])
    made = (
        crypto.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime.datetime(2020, 1, 1, tzinfo=talk.UTC))
        .not_valid_after(datetime.datetime(2049, 1, 1, tzinfo=talk.UTC))
        .add_extension(crypto.SubjectAlternativeName([crypto.DNSName("127.0.0.1")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return made.public_bytes(serialization.Encoding.PEM), private


def test_a_good_server_is_ok_remembered_and_sent_nothing(host: Host, pki: Pki) -> None:
    seen, left = look_at(host, leaf_server(pki.good), pki)
    assert (seen.status, seen.reason) == (Status.OK, "ok")
    assert seen.measurements["tls_version"] == "1.3"
    assert seen.measurements["issuer"] == "Acquirer Trust"
    assert 89 < float(str(seen.measurements["days_left"])) < 90.1
    assert seen.memory["issuers"] == ["Acquirer Trust"]
    assert left == [b""]  # an orderly end, no application bytes


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_the_end_of_a_session_is_no_reset(host: Host, pki: Pki, newest: ssl.TLSVersion) -> None:
    context = talk.server_context(pki.good)
    context.maximum_version = newest
    ends: list[bytes] = []

    def note(connection: socket.socket, _over: threading.Event) -> None:
        ends.append(connection.recv(100))

    with talk.serving(talk.tls(context, note)) as (port, _):
        assert look(host, port, pki.ca_file).status is Status.OK
    assert ends == [b""]  # close_notify; a bare FIN would have raised SSLEOFError


@pytest.mark.parametrize(
    ("leaf", "reason", "code"),
    [
        ({"not_before": talk.days(-60), "not_after": talk.days(-1)}, "tls.expired", 10),
        ({"not_before": talk.days(1), "not_after": talk.days(60)}, "tls.not_yet_valid", 9),
    ],
)
def test_a_certificate_out_of_its_time(host: Host, pki: Pki, leaf: dict[str, Any], reason: str, code: int) -> None:
    seen, _ = look_at(host, leaf_server(pki.root.issue_cert("127.0.0.1", **leaf)), pki)
    assert (seen.status, seen.reason) == (Status.FAIL, reason)
    assert seen.measurements["verify_code"] == code
    assert {"not_before", "not_after", "checked_at"} <= seen.measurements.keys()
    assert any("by this PC's clock" in line for line in seen.evidence)
    assert any(line.startswith("presented: ") for line in seen.evidence)


def test_a_certificate_near_its_end_is_a_warning(host: Host, pki: Pki) -> None:
    seen, _ = look_at(host, leaf_server(pki.root.issue_cert("127.0.0.1", not_after=talk.days(10))), pki)
    assert (seen.status, seen.reason) == (Status.WARN, "tls.expiring")
    assert 9.9 < float(str(seen.measurements["days_left"])) < 10.1


def test_a_certificate_for_another_name(host: Host, pki: Pki) -> None:
    seen, _ = look_at(host, leaf_server(pki.root.issue_cert("www.acquirer.example")), pki)
    assert (seen.status, seen.reason) == (Status.FAIL, "tls.wrong_host")


def test_the_name_to_ask_for_can_differ_from_the_address(host: Host, pki: Pki) -> None:
    server = leaf_server(pki.root.issue_cert("auth.acquirer.example", not_after=talk.days(90)))
    seen, _ = look_at(host, server, pki, server_name="auth.acquirer.example")
    assert seen.status is Status.OK
    assert seen.measurements["server_name"] == "auth.acquirer.example"


def test_an_unknown_authority_is_untrusted(host: Host, pki: Pki) -> None:
    seen, _ = look_at(host, leaf_server(pki.stranger.issue_cert("127.0.0.1")), pki)
    assert (seen.status, seen.reason) == (Status.FAIL, "tls.untrusted")
    assert seen.measurements["verify_code"] in (19, 20, 21)
    assert seen.memory == {}


def test_a_self_signed_certificate_is_untrusted(host: Host, pki: Pki, tmp_path: Path) -> None:
    certificate, key = self_signed()
    (tmp_path / "cert").write_bytes(certificate)
    (tmp_path / "key").write_bytes(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    seen, _ = look_at(host, talk.tls(context), pki)
    assert (seen.status, seen.reason) == (Status.FAIL, "tls.untrusted")
    assert seen.measurements["verify_code"] == 18


def test_a_missing_intermediate_is_untrusted_not_intercepted(host: Host, pki: Pki) -> None:
    leaf = pki.child.issue_cert("127.0.0.1", not_after=talk.days(90))
    known = {"issuers": ["Acquirer Trust"]}
    whole, _ = look_at(host, leaf_server(leaf), pki, known)
    bare, _ = look_at(host, leaf_server(leaf, bare=True), pki)
    assert whole.status is Status.OK
    assert (bare.status, bare.reason, bare.measurements["verify_code"]) == (Status.FAIL, "tls.untrusted", 20)


def test_a_stranger_in_the_place_of_a_remembered_issuer_intercepts(host: Host, pki: Pki) -> None:
    known = {"issuers": ["Acquirer Trust"]}
    server = leaf_server(pki.stranger.issue_cert("127.0.0.1"))
    seen, _ = look_at(host, server, pki, known)
    assert (seen.status, seen.reason) == (Status.FAIL, "tls.intercepted")
    assert seen.measurements["expected_issuer"] == "Acquirer Trust"
    assert seen.memory["issuers"] == ["Acquirer Trust"]  # a stranger is not learnt


def test_a_trusted_stranger_is_a_warning_and_still_not_learnt(host: Host, pki: Pki) -> None:
    known = {"issuers": ["Acquirer Trust"]}
    server = leaf_server(pki.stranger.issue_cert("127.0.0.1", not_after=talk.days(90)))
    seen, _ = look_at(host, server, pki, known, trusting=pki.both)
    assert (seen.status, seen.reason) == (Status.WARN, "tls.intercepted")
    assert seen.memory["issuers"] == ["Acquirer Trust"]


def test_an_expected_issuer_is_demanded(host: Host, pki: Pki) -> None:
    well, _ = look_at(host, leaf_server(pki.good), pki, issuer="acquirer trust")
    foreign, _ = look_at(host, leaf_server(pki.good), pki, issuer="DigiCert")
    assert well.status is Status.OK
    assert (foreign.status, foreign.reason) == (Status.FAIL, "tls.intercepted")


def test_a_renewal_by_the_same_authority_is_no_interception(host: Host, pki: Pki) -> None:
    known = {"issuers": ["Acquirer Trust"]}
    renewed = pki.root.issue_cert("127.0.0.1", not_after=talk.days(400))
    seen, _ = look_at(host, leaf_server(renewed), pki, known)
    assert seen.status is Status.OK


def test_memory_of_another_target_says_nothing(host: Host, pki: Pki) -> None:
    memory = {"target": "elsewhere.example:443", "issuers": ["Somebody Else"]}
    with talk.serving(leaf_server(pki.good)) as (port, _):
        assert look(host, port, pki.ca_file, memory).status is Status.OK


@pytest.mark.parametrize("newest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_server_that_wants_our_certificate_is_reachable(host: Host, pki: Pki, newest: ssl.TLSVersion) -> None:
    context = talk.server_context(pki.good)
    context.maximum_version = newest
    context.verify_mode = ssl.CERT_REQUIRED
    pki.root.configure_trust(context)
    seen, _ = look_at(host, talk.tls(context), pki)
    assert (seen.status, seen.reason) == (Status.OK, "ok")
    assert seen.measurements["tls_version"] == newest.name.removeprefix("TLSv").replace("_", ".")
    assert "the server asks for a client certificate" in seen.evidence
    assert seen.memory["issuers"] == ["Acquirer Trust"]


def test_what_somebody_else_was_asked_for_makes_no_dead_server_alive(host: Host, pki: Pki) -> None:
    """Mail and the broker shake hands with the same contexts; the ids of their sockets are given out again."""
    context = talk.server_context(pki.good)
    context.verify_mode = ssl.CERT_REQUIRED
    pki.root.configure_trust(context)
    with talk.serving(talk.tls(context)) as (asks, _), talk.serving(talk.close_at_once) as (dead, _):
        for _attempt in range(10):
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", asks)) as plain,
                tls.context(pki.ca_file).wrap_socket(plain, server_hostname="127.0.0.1") as secured,
            ):
                secured.recv(1)
            assert look(host, dead, pki.ca_file).reason == "tls.closed"
    assert tls._asked == {}


def test_a_server_that_wants_our_certificate_must_still_be_trusted(host: Host, pki: Pki) -> None:
    context = talk.server_context(pki.stranger.issue_cert("127.0.0.1"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED
    pki.root.configure_trust(context)
    seen, _ = look_at(host, talk.tls(context), pki)
    assert (seen.status, seen.reason) == (Status.FAIL, "tls.untrusted")


def test_a_server_of_tls_1_1_is_old_not_broken(host: Host, pki: Pki) -> None:
    context = talk.server_context(pki.good)
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version, context.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    seen, _ = look_at(host, talk.tls(context), pki)
    assert (seen.status, seen.reason) == (Status.FAIL, "tls.old_version")
    assert seen.measurements["offered"] == "1.1 or older"


def test_a_server_hello_of_tls_1_0_is_old(host: Host, pki: Pki) -> None:
    hello = b"\x03\x01" + bytes(32) + b"\x00" + b"\x00\x2f" + b"\x00"
    record = b"\x02" + len(hello).to_bytes(3, "big") + hello
    seen, _ = look_at(host, talk.say(b"\x16\x03\x01" + len(record).to_bytes(2, "big") + record), pki)
    assert (seen.status, seen.reason) == (Status.FAIL, "tls.old_version")


def test_tls_1_2_is_old_where_1_3_is_wanted(host: Host, pki: Pki) -> None:
    context = talk.server_context(pki.good)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    seen, _ = look_at(host, talk.tls(context), pki, min_version="1.3")
    assert (seen.status, seen.reason) == (Status.FAIL, "tls.old_version")
    assert seen.measurements["offered"] == "1.2"


def alert(description: int) -> bytes:
    return b"\x15\x03\x03\x00\x02\x02" + bytes([description])


@pytest.mark.parametrize(
    ("server", "reason"),
    [
        pytest.param(talk.say(alert(40)), "tls.handshake_failed", id="alert handshake_failure"),
        pytest.param(talk.say(alert(112)), "tls.handshake_failed", id="alert unrecognized_name"),
        pytest.param(talk.say(alert(70)), "tls.old_version", id="alert protocol_version"),
        pytest.param(talk.say(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "tls.handshake_failed", id="no TLS at all"),
        pytest.param(talk.say(bytes(range(256))), "tls.handshake_failed", id="garbage"),
        pytest.param(talk.close_at_once, "tls.closed", id="closed"),
        pytest.param(talk.reset, "tls.closed", id="reset"),
    ],
)
def test_each_way_to_break_off_a_handshake(host: Host, pki: Pki, server: talk.Talk, reason: str) -> None:
    seen, _ = look_at(host, server, pki)
    assert (seen.status, seen.reason) == (Status.FAIL, reason)
    assert seen.measurements["ipv4"] == "ok"  # the connection itself was well


@pytest.mark.parametrize("server", [talk.stall, talk.http(b"", drip=0.05)], ids=["silent", "reads for ever"])
def test_a_stall_is_told_within_the_deadline(pki: Pki, server: talk.Talk) -> None:
    began = time.monotonic()
    seen, _ = look_at(Host(ends=began + 0.5), server, pki)
    assert (seen.status, seen.reason) == (Status.FAIL, "tls.handshake_timeout")


def test_a_server_that_drips_its_handshake_gains_no_time(pki: Pki) -> None:
    def drip(connection: socket.socket, over: threading.Event) -> None:
        for byte in b"\x16\x03\x03\x40\x00" + bytes(1000):
            connection.sendall(bytes([byte]))
            if over.wait(0.02):
                return

    with talk.serving(drip) as (port, _):
        began = time.monotonic()
        seen = look(Host(ends=began + 0.5), port, pki.ca_file)
        took = time.monotonic() - began
    assert seen.reason == "tls.handshake_timeout"
    assert took < 0.7


def test_what_stands_in_the_way_of_the_connection_keeps_its_name(host: Host, pki: Pki) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert look(host, port, pki.ca_file).reason == "port.refused"


def test_no_trust_store_is_said_and_not_blamed_on_the_server(host: Host, tmp_path: Path) -> None:
    (tmp_path / "junk.pem").write_text("no certificate\n")
    with talk.serving(talk.stall) as (port, _):
        for name in ("junk.pem", "absent.pem"):
            with pytest.raises(Unsupported, match=name):
                look(host, port, tmp_path / name)


def test_one_context_serves_all_looks_until_its_file_changes(pki: Pki, tmp_path: Path) -> None:
    mine = tmp_path / "mine.pem"
    pki.root.cert_pem.write_to_path(str(mine))
    first = tls.context(str(mine))
    assert tls.context(str(mine)) is first
    pki.stranger.cert_pem.write_to_path(str(mine), append=True)
    assert tls.context(str(mine)) is not first


def test_a_private_authority_without_key_usage_is_trusted_on_every_python(pki: Pki) -> None:
    assert not tls.context(str(pki.ca_file)).verify_flags & ssl.VERIFY_X509_STRICT


NOW = 1_700_000_000.0


def certificate(issuer: str, not_after: float = NOW + 90 * DAY) -> Certificate:
    return Certificate(Name("auth.acquirer.example"), Name("R10", issuer), NOW - DAY, not_after)


def judge(handshake: Handshake, memory: Memory | None = None, attempts: tuple[Attempt, ...] = ()) -> Observation:
    good = Attempt("192.0.2.1", "ipv4", "ok", 0.02)
    reading = Reading(Reach("auth.acquirer.example", 443, attempts=(good, *attempts)), handshake, NOW)
    return KIND.judge(TlsSettings(kind="tls", host="auth.acquirer.example"), reading, memory or {})


def test_a_till_whose_clock_is_wrong_keeps_both_dates() -> None:
    old = certificate("DigiCert Inc", NOW - 5 * DAY)
    seen = judge(Handshake("untrusted", verify_code=10, detail="certificate has expired", chain=(old,)))
    assert seen.reason == "tls.expired"
    assert seen.measurements["checked_at"] == "2023-11-14 22:13 UTC"
    assert seen.measurements["not_after"] == "2023-11-09 22:13 UTC"


def test_the_expired_one_of_a_chain_is_named() -> None:
    chain = (certificate("DigiCert Inc"), certificate("DigiCert Inc", NOW - DAY))
    seen = judge(Handshake("untrusted", verify_code=10, chain=chain))
    assert seen.measurements["not_after"] == "2023-11-13 22:13 UTC"


def test_a_lame_family_outranks_a_date_but_not_an_interception() -> None:
    dead = Attempt("2001:db8::1", "ipv6", "timeout", 1.5)
    soon = certificate("DigiCert Inc", NOW + DAY)
    well = Handshake("ok", version="TLSv1.3", chain=(soon,), trusted=(soon,))
    assert judge(well, attempts=(dead,)).reason == "port.timeout"
    known = {"target": "auth.acquirer.example:443", "issuers": ["Let's Encrypt"]}
    assert judge(well, known, (dead,)).reason == "tls.intercepted"


@pytest.mark.parametrize("memory", [{"issuers": 5, "target": "auth.acquirer.example:443"}, {"issuers": ["x"]}, {"target": None}])  # fmt: skip
def test_a_memory_that_makes_no_sense_is_no_memory(memory: Memory) -> None:
    assert judge(Handshake("ok", chain=(certificate("DigiCert Inc"),)), memory).status is Status.OK


@pytest.mark.parametrize(
    ("settings", "keys"),
    [
        ({"host": "a"}, []),
        ({"targets": ("a",)}, []),
        ({}, ["host"]),
        ({"targets": ("a",), "host": "a"}, ["host"]),
        ({"host": "a", "server_name": ".a"}, ["server_name"]),
        ({"host": "a", "server_name": "a" * 70}, ["server_name"]),
    ],
)
def test_settings_that_cannot_work_together(settings: dict[str, Any], keys: list[str]) -> None:
    assert [key for key, _ in KIND.problems(TlsSettings(kind="tls", **settings))] == keys
