"""From tables to probes: defaults, targets, presets, needs, names; and types that nothing escapes."""

from __future__ import annotations

import sys
import tomllib
from datetime import date, datetime, time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import config
from agent.config import Config, ConfigError, presets, probes_of
from agent.config.problems import dotted, is_secret
from agent.config.read import Source
from agent.config.targets import parse_target
from agent.config.toml import value as written
from probes import registry
from probes.model import Impact, Kind, Probe, Role, Seconds
from tests.agent.sample import SampleSettings

pytestmark = pytest.mark.usefixtures("sample_kinds")


def loaded(text: str) -> Config:
    return config.parse(Source("config.toml", text.encode()))


def probes(text: str) -> dict[str, Probe]:
    return {probe.name: probe for probe in probes_of(loaded(text))}


def test_a_probe_takes_its_defaults_from_schedule_and_kind() -> None:
    probe = probes('[probes.sales]\nkind = "disk"\npath = "/srv"\n')["sales"]
    assert (probe.kind, probe.label, probe.target) == ("disk", "sales", "/srv")
    assert (probe.interval, probe.timeout, probe.fail_after, probe.recover_after) == (30, 3, 3, 2)
    assert (probe.impact, probe.needs, probe.role) == (Impact.DEGRADE, None, None)


def test_the_schedule_sets_what_the_kind_leaves_open() -> None:
    text = '[schedule]\ninterval = "2m"\ntimeout = 1\nfail_after = 5\n[probes.sales]\nkind = "disk"\n'
    probe = probes(text)["sales"]
    assert (probe.interval, probe.timeout, probe.fail_after) == (120, 1, 5)


def test_a_kind_with_an_interval_of_its_own_keeps_it() -> None:
    assert probes('[schedule]\ninterval = "2m"\n[probes.a]\nkind = "sample"\nhost = "h"\n')["a"].interval == 60


def test_what_a_probe_says_itself_goes_before_everything() -> None:
    text = """
    [probes.a]
    kind = "sample"
    host = "h"
    interval = "5m"
    timeout = "500ms"
    fail_after = 1
    recover_after = 9
    impact = "none"
    role = "service"
    label = "Bank"
    needs = []
    """
    probe = probes(text)["a"]
    assert (probe.interval, probe.timeout, probe.fail_after, probe.recover_after) == (300, 0.5, 1, 9)
    assert (probe.impact, probe.role, probe.label, probe.needs) == (Impact.NONE, Role.SERVICE, "Bank", ())


def test_targets_expand_to_one_probe_each() -> None:
    found = probes('[probes.hosts]\nkind = "sample"\ntargets = ["a.example", "b.example:8443", "[2001:db8::1]:9"]\n')
    assert {name: probe.target for name, probe in found.items()} == {
        "hosts/a.example": "a.example:443",
        "hosts/b.example:8443": "b.example:8443",
        "hosts/[2001:db8::1]:9": "2001:db8::1:9",
    }
    assert [probe.label for probe in found.values()] == list(found)


def test_a_label_is_told_apart_by_its_target() -> None:
    found = probes('[probes.hosts]\nkind = "sample"\nlabel = "Bank"\ntargets = ["a:1", "b:2"]\n')
    assert [probe.label for probe in found.values()] == ["Bank a:1", "Bank b:2"]


def test_targets_without_a_port_take_the_tables_port() -> None:
    found = probes('[probes.hosts]\nkind = "sample"\nport = 8443\ntargets = ["a", "b:1"]\n')
    assert [probe.target for probe in found.values()] == ["a:8443", "b:1"]


def test_an_expanded_probe_has_one_target_left() -> None:
    settings: Any = probes('[probes.hosts]\nkind = "sample"\ntargets = ["a:1", "b:2"]\n')["hosts/b:2"].settings
    assert (settings.host, settings.port, settings.targets) == ("b", 2, ())


def test_a_preset_expands_to_its_hosts_by_name() -> None:
    assert list(probes('[probes.bank]\nkind = "sample"\npreset = "nmi-cardease"\n')) == [
        "bank/live.cardeasexml.com:443",
        "bank/tms.cardeasexml.com:443",
    ]


def test_a_need_with_targets_means_all_of_them_and_one_means_one() -> None:
    text = """
    [probes.hosts]
    kind = "sample"
    targets = ["a:1", "b:2"]
    [probes.sales]
    kind = "disk"
    needs = ["hosts"]
    [probes.other]
    kind = "disk"
    needs = ["hosts/b:2", "sales"]
    """
    found = probes(text)
    assert found["sales"].needs == ("hosts/a:1", "hosts/b:2")
    assert found["other"].needs == ("hosts/b:2", "sales")


def test_a_probe_switched_off_is_left_out_and_may_still_be_needed() -> None:
    text = '[probes.a]\nkind = "disk"\nenabled = false\n[probes.b]\nkind = "disk"\nneeds = ["a"]\n'
    found = probes(text)
    assert list(found) == ["b"]
    assert found["b"].needs == ()
    assert not loaded(text).discovered


def test_settlement_deadlines_are_in_the_stores_zone_unless_the_probe_names_another() -> None:
    text = '[site]\ntimezone = "Asia/Shanghai"\n[probes.batch]\nkind = "settlement"\nfile = "/srv/batch.json"\n'
    settings: Any = probes(text)["batch"].settings
    assert settings.timezone == "Asia/Shanghai"
    settings = probes(text + 'timezone = "Asia/Urumqi"\n')["batch"].settings
    assert settings.timezone == "Asia/Urumqi"


def test_a_probes_name_may_be_chinese() -> None:
    assert list(probes('[probes."收单-1"]\nkind = "disk"\n')) == ["收单-1"]


def test_a_long_chain_of_needs_is_no_circle() -> None:
    text = '[probes.p0]\nkind = "disk"\n'
    text += "".join(f'[probes.p{n}]\nkind = "disk"\nneeds = ["p{n - 1}"]\n' for n in range(1, 1500))
    assert len(probes(text)) == 1500


def test_a_diamond_of_needs_is_no_circle() -> None:
    text = """
    [probes.top]
    kind = "disk"
    needs = ["left", "right"]
    [probes.left]
    kind = "disk"
    needs = ["bottom"]
    [probes.right]
    kind = "disk"
    needs = ["bottom"]
    [probes.bottom]
    kind = "disk"
    """
    assert len(probes(text)) == 4


def test_everything_else_is_kept_as_it_was_written() -> None:
    found = loaded(
        'language = "zh-CN"\n[site]\nstore = "0042"\nterminal = "T01"\ntags = { region = "east" }\n'
        '[contacts]\nisp = "10000"\n[report]\npath = "/tmp/h.json"\n'
    )
    assert (found.language, found.site.store, found.site.terminal) == ("zh-CN", "0042", "T01")
    assert (found.site.tags, found.contacts, found.report.path) == ({"region": "east"}, {"isp": "10000"}, "/tmp/h.json")
    assert found.discovered


def test_a_third_party_kind_comes_in_by_its_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "door_kind.py").write_text(
        "import dataclasses, tests.agent.sample as s\nKIND = dataclasses.replace(s.KIND, name='door')\n"
    )
    info = tmp_path / "door-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: door\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[posagent.probes]\ndoor = door_kind:KIND\nbroken = door_absent:KIND\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert probes('[probes.front]\nkind = "door"\nhost = "h"\n')["front"].kind == "door"
    with pytest.raises(ConfigError) as caught:
        loaded('[probes.front]\nkind = "broken"\n')
    assert str(caught.value) == (
        'config.toml: probes.front.kind: the package that brings the kind "broken" cannot be loaded: '
        "No module named 'door_absent'"
    )
    sys.modules.pop("door_kind", None)


@pytest.mark.parametrize(
    ("text", "default", "expected"),
    [
        ("a.example:443", None, ("a.example", 443)),
        ("a.example", 443, ("a.example", 443)),
        ("a.example", None, None),
        ("192.0.2.1:1", None, ("192.0.2.1", 1)),
        ("[2001:db8::1]:443", None, ("2001:db8::1", 443)),
        ("[2001:db8::1]", 443, ("2001:db8::1", 443)),
        ("2001:db8::1", 443, ("2001:db8::1", 443)),
        ("2001:db8::1", None, None),
        ("fe80::1%eth0", 443, ("fe80::1%eth0", 443)),
        ("[fe80::1%eth0]:7", None, ("fe80::1%eth0", 7)),
        ("a:b:c", 443, None),
        ("a:65536", 443, None),
        ("a:0", 443, None),
        ("a:", 443, None),
        (":443", 443, None),
        ("", 443, None),
        ("a:443\n", 443, None),
        ("支付.example:443", None, ("支付.example", 443)),
    ],
)
def test_a_target_is_host_and_port(text: str, default: int | None, expected: tuple[str, int] | None) -> None:
    assert parse_target(text, default) == expected


@given(st.text(), st.none() | st.integers(1, 65535))
def test_no_target_text_is_a_surprise(text: str, default: int | None) -> None:
    target = parse_target(text, default)
    assert target is None or (target[0] and 1 <= target[1] <= 65535)


SCALARS = (
    st.none().map(lambda _: False)
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.dates()
    | st.datetimes()
    | st.times()
)
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8
)
SETTINGS = st.dictionaries(
    st.sampled_from([*SampleSettings.__struct_fields__, "preset", "zzz"]),
    VALUES,
    max_size=8,
)


def check_whatever(table: dict[str, Any]) -> None:
    """Either a configuration or problems that say something: nothing else comes out."""
    from agent.config import probe_tables, typed
    from agent.config.model import Sections

    notes = typed.Notes("config.toml")
    typed.convert_fields(table, Sections, (), notes, skip=("probes",))
    probe_tables.read(table.get("probes", {}), notes)
    for problem in notes.problems:
        assert str(problem).startswith("config.toml: ")
        assert problem.message


@given(st.dictionaries(st.sampled_from(["language", "site", "contacts", "schedule", "report", "probes"]), VALUES))
def test_whatever_the_sections_hold_there_is_an_answer(table: dict[str, Any]) -> None:
    check_whatever(table)


@given(SETTINGS, st.sampled_from(["sample", "required", "disk"]))
def test_whatever_a_probe_holds_there_is_an_answer(table: dict[str, Any], kind: str) -> None:
    check_whatever({"probes": {"a": {**table, "kind": kind}}})


@given(st.binary(max_size=200) | st.text(max_size=200).map(str.encode))
def test_whatever_bytes_the_file_holds_there_is_an_answer(data: bytes) -> None:
    try:
        config.parse(Source("config.toml", data))
    except ConfigError as error:
        assert all(str(problem).startswith("config.toml: ") for problem in error.problems)


PLAIN = st.recursive(
    st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(PLAIN)
def test_what_is_written_as_toml_is_read_back(value: Any) -> None:
    assert tomllib.loads(f"a = {written(value)}") == {"a": value}


@given(st.floats(0, 3e9).map(Seconds))
def test_a_duration_written_is_the_duration_read(value: Seconds) -> None:
    assert Seconds.parse(tomllib.loads(f"a = {written(value)}")["a"]) == value


def test_what_toml_cannot_say_is_refused() -> None:
    with pytest.raises(TypeError):
        written(None)


def test_dates_are_repeated_as_written() -> None:
    from agent.config.problems import got

    assert [
        got(value) for value in (date(2024, 1, 31), time(9, 30), datetime.fromisoformat("2024-01-31T09:30:00"))
    ] == [
        "2024-01-31",
        "09:30:00",
        "2024-01-31 09:30:00",
    ]


def test_a_path_is_written_as_toml_writes_it() -> None:
    assert dotted(("probes", "a.b", "targets", 1)) == 'probes."a.b".targets[1]'


@pytest.mark.parametrize(
    ("key", "secret"),
    [
        ("password", True),
        ("api_key", True),
        ("access-token", True),
        ("client_secret", True),
        ("passphrase", True),
        ("keyboard", False),
        ("monkey", False),
        ("path", False),
        ("pattern", False),
        ("compass", False),
        ("span", False),
    ],
)
def test_names_that_may_hold_secrets(key: str, secret: bool) -> None:
    assert is_secret(key) is secret


def test_every_preset_is_whole_and_holds_names_only() -> None:
    names = presets.names()
    assert set(names) >= {
        *("adyen-eu", "adyen-us", "adyen-au", "stripe-terminal", "square", "sumup", "nmi-cardease"),
        *("wechatpay", "allinpay-qr", "chinaums-qr", "payxpert"),
    }
    for name in names:
        preset = presets.find(name)
        assert preset.name == name
        assert all(url.startswith("https://") for url in preset.source_url)
        assert all("*" not in host and not host[-1].isdigit() and "." in host for host in preset.hosts)
        assert len(set(preset.targets)) == len(preset.targets)
        assert preset.confidence == "A" or "acquirer" in preset.note


def test_kinds_of_the_tests_are_kinds() -> None:
    kind: Kind[Any, Any] = registry.find("sample")
    assert kind.name == "sample"
