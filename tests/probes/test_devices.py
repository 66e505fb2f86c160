"""The table of known devices: complete rows, honest confidence, and nobody called absent for an unknown id."""

from __future__ import annotations

import re
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from probes.host import devices
from probes.host.devices import Identity, identify


@pytest.mark.parametrize(
    ("vendor", "product", "texts", "classes", "family", "role", "confidence"),
    [
        ("11ca", "0201", (), (2, 10), "Verifone MX870/MX880", "terminal", "certain"),
        ("11CA", "0219", (), (10,), "Verifone Trident USB device", "terminal", "likely"),
        ("11ca", "9999", (), (2,), "Verifone device", "terminal", "likely"),
        ("2fb8", "2205", (), (2,), "PAX terminal", "terminal", "likely"),
        ("2fb8", "2205", ("PAX", "USB Serial"), (2,), "PAX terminal", "terminal", "certain"),
        ("0b00", "0090", (), (255,), "Ingenico health-card reader (not a payment device)", "card reader", "likely"),
        ("1234", "0101", (), (255,), "PAX S80 (placeholder vendor id)", "terminal", "possible"),
        ("1eab", "0c06", (), (2,), "Newland scanner, serial mode", "scanner", "likely"),
        ("0403", "6001", (), (255,), "FTDI FT232", "serial adapter", "certain"),
        ("0403", "6001", ("Verifone",), (255,), "Verifone device", "terminal", "likely"),
        ("dead", "beef", ("SUNMI P2",), (255,), "Sunmi terminal", "terminal", "likely"),
        ("dead", "beef", (), (2, 10), "", "terminal", "possible"),
        ("dead", "beef", (), (3,), "", "input", "possible"),
        ("dead", "beef", (), (255,), "", "unknown", "possible"),
        ("1d6b", "0002", (), (9,), "Linux root hub", "hub", "certain"),
    ],
)
def test_a_device_is_told_by_id_words_and_class(
    vendor: str, product: str, texts: tuple[str, ...], classes: tuple[int, ...], family: str, role: str, confidence: str
) -> None:
    found = identify(vendor, product, texts, classes)
    assert (found.family, found.role, found.confidence) == (family, role, confidence)


def test_every_row_has_a_source_a_confidence_and_a_wellformed_id() -> None:
    table = tomllib.loads(devices.TABLE.read_text(encoding="utf-8"))
    assert len(table["device"]) > 80
    for row in table["device"]:
        assert re.fullmatch(r"[0-9a-f]{4}", row["vendor"]), row
        assert re.fullmatch(r"[0-9a-f?*]{1,4}", row["product"]), row
        assert row["source"] and row["family"]
        assert row["confidence"] in ("certain", "likely", "possible")
    ids = [(row["vendor"], row["product"]) for row in table["device"]]
    assert len(ids) == len(set(ids))


def test_every_serial_driver_named_is_one_of_the_kernels() -> None:
    table = tomllib.loads(devices.TABLE.read_text(encoding="utf-8"))
    assert {row["driver"] for row in table["device"] if "driver" in row} == {
        "cdc_acm", "ftdi_sio", "pl2303", "ch341", "cp210x", "usbhid", "hub",
    }  # fmt: skip


@given(st.text(max_size=8), st.text(max_size=8), st.lists(st.text(max_size=30)), st.lists(st.integers(0, 255)))
def test_whatever_a_device_says_it_gets_an_identity(
    vendor: str, product: str, texts: list[str], classes: list[int]
) -> None:
    assert isinstance(identify(vendor, product, texts, classes), Identity)


@given(st.from_regex(r"[0-9a-f]{4}", fullmatch=True), st.sampled_from([2, 10]))
def test_a_serial_class_nobody_knows_may_be_a_terminal(product: str, serial_class: int) -> None:
    assert identify("feed", product, (), (serial_class,)).takes_cards
