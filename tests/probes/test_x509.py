"""Certificates: read as OpenSSL reads them, and never more than an error for anything else."""

from __future__ import annotations

import contextlib
import datetime
import ssl

import pytest
import trustme
from hypothesis import example, given
from hypothesis import strategies as st

from probes import x509

UTC = datetime.UTC


def der_of(leaf: trustme.LeafCert) -> bytes:
    return ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())


def make(**details: object) -> bytes:
    authority = trustme.CA(organization_name="Acquirer AG", organization_unit_name="Payments Root")
    return der_of(authority.issue_cert("auth.acquirer.example", **details))  # type: ignore[arg-type]


LEAF = make(
    common_name="auth.acquirer.example",
    organization_name="收单机构",
    not_before=datetime.datetime(2024, 2, 29, 12, 30, 15, tzinfo=UTC),
    not_after=datetime.datetime(2051, 1, 2, 3, 4, 5, tzinfo=UTC),
)


def test_names_and_dates_of_a_certificate_are_read() -> None:
    certificate = x509.parse(LEAF)
    assert certificate.subject == x509.Name("auth.acquirer.example", "收单机构", certificate.subject.unit)
    assert (certificate.issuer.organisation, certificate.issuer.unit) == ("Acquirer AG", "Payments Root")
    assert certificate.not_before == 1709209815  # 2024-02-29 12:30:15 UTC, a UTCTime
    assert certificate.not_after == 2556241445  # 2051-01-02 03:04:05 UTC, a GeneralizedTime


def test_a_card_number_in_a_name_is_masked() -> None:
    certificate = x509.parse(make(organization_name="4111 1111 1111 1111"))
    assert "4111 1111 1111 1111" not in certificate.subject.organisation
    assert certificate.subject.organisation.endswith("1111")


def test_control_characters_in_a_name_do_not_reach_a_terminal() -> None:
    assert x509.parse(make(organization_name="A\x1b[31m\u202eB")).subject.organisation == "A [31m B"


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"0", id="a tag alone"),
        pytest.param(b"0\x80", id="indefinite length"),
        pytest.param(b"0\x84\xff\xff\xff\xff", id="4 GB announced"),
        pytest.param(b"\x1f\x1f\x1f", id="long tag"),
        pytest.param(b"\x30\x03\x30\x01\x02", id="hollow"),
        pytest.param(LEAF[:-1], id="a byte short"),
        pytest.param(LEAF + b"\0", id="a byte long"),
        pytest.param(LEAF[:100], id="cut"),
    ],
)
def test_what_is_no_certificate_is_a_value_error(broken: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        x509.parse(broken)


@given(st.binary(max_size=300))
@example(b"\x30\x82\x00\x00")
def test_whatever_the_bytes_it_ends(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        x509.parse(data)


@given(st.integers(0, len(LEAF) - 1), st.binary(min_size=1, max_size=4))
def test_a_damaged_certificate_is_read_or_refused(place: int, damage: bytes) -> None:
    try:
        certificate = x509.parse(LEAF[:place] + damage + LEAF[place + len(damage) :])
    except ValueError:
        return
    str(certificate.subject).encode()
    str(certificate.issuer).encode()
