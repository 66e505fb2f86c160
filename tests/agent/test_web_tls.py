"""Whoever opens the page to others does so with TLS: real certificates, real handshakes."""

from __future__ import annotations

import os
import socket
import ssl
import time
from contextlib import suppress
from pathlib import Path

import pytest
import trustme

from agent.config.web import Web, WebTls
from agent.web import reader as readers
from tests.agent.webpages import Shown, shown, until


class Papers:
    """An authority, and the files of a page."""

    def __init__(self, path: Path) -> None:
        self.authority = trustme.CA()
        self.certificate, self.key, self.readers = path / "page.pem", path / "page.key", path / "readers.pem"
        self.authority.cert_pem.write_to_path(str(self.readers))
        self.issue()

    def issue(self) -> bytes:
        """A new certificate under the same name; returns it as it is shown."""
        leaf = self.authority.issue_cert("127.0.0.1", "t01.store.example")
        leaf.private_key_pem.write_to_path(str(self.key))
        self.certificate.write_bytes(b"".join(blob.bytes() for blob in leaf.cert_chain_pems))
        return ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())

    @property
    def tls(self) -> WebTls:
        return WebTls(certificate_file=str(self.certificate), key_file=str(self.key))

    @property
    def mutual(self) -> WebTls:
        files = (str(self.certificate), str(self.key), str(self.readers))
        return WebTls(certificate_file=files[0], key_file=files[1], client_ca_file=files[2])

    def reader(self, *, known: bool = False) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        if known:
            self.authority.issue_cert("centre.example").configure_cert(context)
        return context


@pytest.fixture
def papers(tmp_path: Path) -> Papers:
    return Papers(tmp_path)


def shown_certificate(page: Shown, context: ssl.SSLContext) -> bytes | None:
    with page.connect() as sock, context.wrap_socket(sock, server_hostname="127.0.0.1") as secured:
        return secured.getpeercert(binary_form=True)


def test_the_page_is_served_over_tls(papers: Papers) -> None:
    with shown(tls=papers.tls) as page:
        reader = papers.reader()
        for _ in range(20):
            got = page.ask("/health.json", tls=reader)
            assert got.status == 200
        assert page.ask("/", tls=reader).status == 200
        assert page.page.problems() == []


def test_a_kept_connection_serves_many_requests_and_is_closed_when_they_come_together(papers: Papers) -> None:
    reader = papers.reader()
    with (
        shown(tls=papers.tls) as page,
        page.connect() as sock,
        reader.wrap_socket(sock, server_hostname="127.0.0.1") as secured,
    ):
        for _ in range(50):
            assert page.again(secured, "/healthz").text == "ok\n"
        request = f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\n\r\n".encode()
        secured.sendall(request * 20)
        found = b""
        while more := secured.recv(65536):
            found += more
        assert found.count(b"\r\n\r\nok\n") == 1


def test_a_request_that_arrives_in_single_letters_is_one(papers: Papers) -> None:
    reader = papers.reader()
    with (
        shown(tls=papers.tls) as page,
        page.connect() as sock,
        reader.wrap_socket(sock, server_hostname="127.0.0.1") as secured,
    ):
        for letter in f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\n\r\n":
            secured.sendall(letter.encode())
        assert secured.recv(65536).startswith(b"HTTP/1.1 200 OK")


def test_nothing_older_than_tls_1_2_and_no_plain_http(papers: Papers) -> None:
    with shown(tls=papers.tls) as page:
        old = papers.reader()
        with pytest.warns(DeprecationWarning):
            old.minimum_version = ssl.TLSVersion.TLSv1
        with pytest.warns(DeprecationWarning):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        old.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.raises((ssl.SSLError, ConnectionError)):
            page.ask("/", tls=old)
        new = papers.reader()
        new.maximum_version = ssl.TLSVersion.TLSv1_2
        assert page.ask("/", tls=new).status == 200
        assert b"HTTP" not in page.raw(f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\n\r\n".encode())
        assert page.ask("/", tls=papers.reader()).status == 200


def test_only_who_has_a_certificate_of_the_authority_looks(papers: Papers) -> None:
    with shown(tls=papers.mutual) as page:
        assert page.ask("/health.json", tls=papers.reader(known=True)).status == 200
        with pytest.raises((ssl.SSLError, ConnectionError, OSError)):
            page.ask("/health.json", tls=papers.reader())
        stranger = papers.reader()
        trustme.CA().issue_cert("centre.example").configure_cert(stranger)
        with pytest.raises((ssl.SSLError, ConnectionError, OSError)):
            page.ask("/health.json", tls=stranger)


def test_a_renewed_certificate_is_taken_within_a_minute_and_a_broken_one_is_not(papers: Papers) -> None:
    with shown(tls=papers.tls) as page:
        reader, now = papers.reader(), 1000.0
        page.page.tend(now)
        first = shown_certificate(page, reader)
        second = papers.issue()
        page.page.tend(now + 31)
        assert shown_certificate(page, reader) == second != first
        papers.certificate.write_text("-----BEGIN CERTIFICATE-----\nnonsense\n-----END CERTIFICATE-----\n")
        page.page.tend(now + 62)
        [problem] = page.page.problems()
        assert problem.startswith("the status page keeps its old certificate, the new one is no good: ")
        assert shown_certificate(page, reader) == second
        third = papers.issue()
        page.page.tend(now + 93)
        assert page.page.problems() == []
        assert shown_certificate(page, reader) == third


def test_a_reload_takes_a_renewed_certificate_at_once(papers: Papers) -> None:
    with shown(tls=papers.tls) as page:
        second = papers.issue()
        page.page.arrange(Web(listen=f"127.0.0.1:{page.port}", tls=papers.tls))
        assert shown_certificate(page, papers.reader()) == second


@pytest.mark.parametrize("what", ["gone", "another key", "key with a password", "unreadable"])
def test_without_a_good_certificate_there_is_no_page_rather_than_an_open_one(
    papers: Papers, what: str, tmp_path: Path
) -> None:
    if what == "gone":
        papers.certificate.unlink()
    elif what == "another key":
        trustme.CA().issue_cert("x.example").private_key_pem.write_to_path(str(papers.key))
    elif what == "key with a password":
        papers.key.write_text(LOCKED)
    else:
        papers.key.write_bytes(b"\0" * 100)
    with shown(tls=papers.tls) as page:
        [problem] = page.page.problems()
        assert problem.startswith("no status page: cannot use its certificate: ")
        with pytest.raises(ConnectionRefusedError):
            page.connect()
        papers.issue()
        page.page.tend(time.monotonic() + 100)
        assert page.page.problems() == []
        assert page.ask("/", tls=papers.reader()).status == 200


def test_who_does_not_finish_the_handshake_is_closed_and_disturbs_nobody(
    papers: Papers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "SHAKE_S", 0.5)
    with shown(tls=papers.tls) as page:
        silent = [page.connect() for _ in range(30)]
        for sock in silent[::2]:
            sock.sendall(b"\x16\x03\x01\x02\x00\x01")  # the beginning of a ClientHello
        assert page.ask("/healthz", tls=papers.reader()).status == 200
        until(lambda: not page.server.active_channels)
        for sock in silent:
            assert sock.recv(1) == b""
            sock.close()


def test_handshakes_of_random_bytes_leave_it_standing(papers: Papers) -> None:
    with shown(tls=papers.tls) as page:
        for size in range(1, 300):
            with page.connect() as sock:
                sock.sendall(b"\x16\x03\x01" + os.urandom(size))
                with suppress(OSError):  # it was closed already
                    sock.shutdown(socket.SHUT_WR)
        assert page.ask("/healthz", tls=papers.reader()).status == 200
        until(lambda: not page.server.active_channels)


LOCKED = """-----BEGIN EC PRIVATE KEY-----
Proc-Type: 4,ENCRYPTED
DEK-Info: AES-128-CBC,0123456789ABCDEF0123456789ABCDEF

AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA
-----END EC PRIVATE KEY-----
"""
