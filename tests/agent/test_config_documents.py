"""One definition: example file, schema, pages and `config show` are made from the code and say the same."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from agent import config
from agent.config import ConfigError, describe, probes_of, toml
from agent.config.channels import KINDS as CHANNELS
from agent.config.example import example
from agent.config.read import Source
from agent.config.samples import SAMPLES
from agent.config.schema import schema
from agent.config.show import show
from agent.kinds_page import kind_text, kinds_text, probes_page
from probes import registry
from probes.model import PROBE_REASONS

ROOT = Path(__file__).parents[2]
REWRITE = "made from the code: run `python -m agent.documents` in the repository"
HEADER = re.compile(r"#?\[?\[(?P<name>[\w.]+)\]\]?")
SETTING = re.compile(r"#(?P<key>[\w-]+) = .*")

ANY_KIND = {"probes": "ping", "channels": "slack"}
INSTEAD = {"settlement": {"file": "/opt/pos/settle.log", "format": "log"}}
"""What some settings of a kind need in place of its example."""
NEEDED = {
    "web.tls": {"certificate_file": "/etc/posagent/page.pem", "key_file": "/etc/posagent/page.key"},
    "push.https": {"url": "https://centre.example/v1/reports", "certificate_file": "/etc/posagent/till.pem"},
    "push.mqtt": {"host": "mqtt.centre.example", "certificate_file": "/etc/posagent/till.pem", "user": "till"},
}
"""What a table inside a section needs, and what some of its settings belong to."""
BEYOND = dict.fromkeys(("push.https", "push.mqtt"), '[site]\nstore = "0042"\nterminal = "T01"\n')
"""What they need outside of themselves."""


def loaded(text: str) -> config.Config:
    return config.parse(Source("config.toml", text.encode()))


def problems(text: str) -> list[str]:
    try:
        loaded(text)
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("config.example.toml", example, id="example"),
        pytest.param("docs/probes.md", probes_page, id="probes"),
        pytest.param(
            "docs/config.schema.json",
            lambda: json.dumps(schema(), indent=2, ensure_ascii=False) + "\n",
            id="schema",
        ),
    ],
)
def test_generated_files_are_what_the_code_says(name: str, text: Any) -> None:
    assert (ROOT / name).read_text("utf-8") == text(), REWRITE


def sections_of_the_example() -> Iterator[tuple[str, list[str]]]:
    """Each section's header and its settings, the leading # taken off."""
    name, lines = "", []
    for line in example().split("\n"):
        header, setting = HEADER.fullmatch(line), SETTING.fullmatch(line)
        if header:
            yield name, lines
            name, lines = header["name"], []
        elif setting:
            lines.append(line[1:])
    yield name, lines


def needs_of(section: str, kind: str) -> dict[str, Any]:
    """The settings without which a table of this kind is no configuration."""
    if section == "probes" and kind in registry.names():
        return dict(registry.find(kind).example)
    if section == "channels" and kind in CHANNELS:
        settings = {one.name: one.sample for one in describe.own_channel_settings(CHANNELS[kind])}
        beside = {"headers", "secrets", "mention", "template", "content_type"}
        return {name: value for name, value in settings.items() if name not in beside}
    return {}


def test_the_example_as_it_stands_changes_nothing() -> None:
    found = loaded(example())
    assert found.discovered
    assert (found.schedule, found.site, found.contacts) == (config.Config().schedule, config.Config().site, {})


def test_every_line_of_the_example_explains_is_a_header_or_is_a_setting() -> None:
    for line in example().split("\n"):
        assert line in ("", "#") or line.startswith("# ") or HEADER.fullmatch(line) or SETTING.fullmatch(line), line
        assert len(line) <= 120 or SETTING.fullmatch(line)


def test_the_example_has_every_section_and_every_kind() -> None:
    names = [name for name, _ in sections_of_the_example()]
    sections = ["", "site", "contacts", "advice", "schedule", "report", "history", "web", "web.tls"]
    sections += ["push", "push.https", "push.mqtt", "notify"]
    channels = ["channels.NAME", *(f"channels.{kind}" for kind in CHANNELS)]
    assert names == [
        *sections,
        *channels,
        "escalation",
        "probes.NAME",
        *(f"probes.{kind}" for kind in registry.names()),
    ]


@pytest.mark.parametrize(
    ("name", "lines"), [pytest.param(name, lines, id=name or "top") for name, lines in sections_of_the_example()]
)
def test_each_setting_of_the_example_holds_when_its_mark_is_taken_off(name: str, lines: list[str]) -> None:
    """Beside what the kind's own example needs; a setting that excludes those is tried without them."""
    header = f"[[{name}]]\n" if name == "escalation" else f"[{name}]\n" if name else ""
    section, _, kind = name.partition(".") if name.startswith(("probes.", "channels.")) else (name, "", "")
    needed = needs_of(section, kind) if kind else NEEDED.get(name, {})
    for line in lines:
        [key] = tomllib.loads(line)
        answers = []
        for beside in (needed, {}, INSTEAD.get(kind, {})):
            table = {"kind": ANY_KIND[section] if kind == "NAME" else kind, **beside} if kind else beside
            named = {"fallback": "mail", "channels": "staff", "name": "staff"}.get(key)
            beyond = f"[channels.{named}]\nkind = 'journal'\n" if named else BEYOND.get(section, "")
            others = "".join(f"{other} = {toml.value(value)}\n" for other, value in table.items() if other != key)
            answers.append(
                [one for one in problems(f"{header}{line}\n{others}{beyond}") if f".{key}:" in one or "unknown" in one]
            )
        assert [] in answers, answers


def test_every_sample_belongs_to_a_setting_that_needs_one() -> None:
    for kind, values in SAMPLES.items():
        known = {setting.name: setting for setting in describe.own_settings(registry.find(kind))}
        assert set(values) <= set(known)
        for key in values:
            assert known[key].default in (None, '""', "[]", "{}"), f"{kind}.{key} has a default"


@pytest.mark.parametrize("kind", registry.names())
def test_the_example_of_each_kind_is_a_working_configuration(kind: str) -> None:
    lines = kind_text(registry.find(kind)).partition("\nExample\n")[2]
    [probe] = probes_of(loaded(re.sub(r"^  ", "", lines, flags=re.MULTILINE)))
    assert probe.kind == kind
    assert probe.target


@pytest.mark.parametrize("kind", registry.names())
def test_every_kind_is_described_whole(kind: str) -> None:
    found = registry.find(kind)
    page = probes_page()
    assert found.name == kind
    assert f"\n## {kind}\n" in page
    for setting in [*describe.own_settings(found), *describe.common_settings()]:
        assert setting.description, f"{kind}.{setting.name} has no description"
        assert setting.name in kind_text(found)
        assert f"| `{setting.name}` |" in page
    for reason, meaning in {**found.reasons, **PROBE_REASONS}.items():
        assert meaning
        assert f"| `{reason}` |" in page
    for reason in found.reasons:
        assert f"\n  {reason}\n" in kind_text(found)


def test_the_list_of_kinds_has_a_line_for_each() -> None:
    assert [line.split()[0] for line in kinds_text().splitlines()] == registry.names()


def everything() -> dict[str, Any]:
    """The example with each kind's example in it, as a table."""
    table: dict[str, Any] = {}
    for name, lines in sections_of_the_example():
        inside = tomllib.loads("\n".join(lines))
        kind = name.removeprefix("probes.")
        if kind in registry.names():
            example_of_kind = registry.find(kind).example
            table.setdefault("probes", {})[kind] = {"kind": kind, **example_of_kind}
        elif name.startswith("channels."):
            if kind != "channels.NAME":
                inside |= {"kind": name.removeprefix("channels.")}
                table.setdefault("channels", {})[name] = inside
        elif name in NEEDED:
            section, _, inner = name.partition(".")
            table.setdefault(section, {})[inner] = inside
        elif not name.startswith("probes"):
            table.update({name: [inside] if name == "escalation" else inside} if name else inside)
    return table


def test_the_schema_is_a_schema_and_accepts_what_the_code_accepts() -> None:
    jsonschema.Draft202012Validator.check_schema(schema())
    validator = jsonschema.Draft202012Validator(schema())
    validator.validate(tomllib.loads(example()))
    validator.validate(everything())
    for name, lines in sections_of_the_example():
        kind = name.removeprefix("probes.")
        if kind in registry.names():
            inside = tomllib.loads("\n".join(lines))
            validator.validate({"probes": {"a": {**inside, **registry.find(kind).example, "kind": kind}}})


@pytest.mark.parametrize(
    "text",
    [
        'langauge = "en"\n',
        'language = "fr"\n',
        "[site]\nstore = 42\n",
        '[contacts]\nplumber = "1"\n',
        '[schedule]\ninterval = "soon"\n',
        "[schedule]\nfail_after = 0\n",
        '[probes.a]\nkind = "dsik"\n',
        '[probes.a]\npath = "/"\n',
        '[probes.a]\nkind = "disk"\nmin_free = 101\n',
        '[probes.a]\nkind = "disk"\npth = "/"\n',
        '[probes."a/b"]\nkind = "disk"\n',
        '[probes.a]\nkind = "disk"\nneeds = "b"\n',
    ],
)
def test_the_schema_refuses_what_the_code_refuses(text: str) -> None:
    assert problems(text)
    assert not jsonschema.Draft202012Validator(schema()).is_valid(tomllib.loads(text))


SHOWN = """
language = "zh-CN"
[site]
store = "0042"
tags = { "a b" = "c\\"d" }
[contacts]
isp = "10000"
[schedule]
interval = "90s"
timeout = 0.0015e3
opening_hours = ["daily 08:00-24:00"]
[probes."收单"]
kind = "sample"
targets = ["a:1", "[2001:db8::1]:2"]
max_time = 0.0001234
token = { env = "TOKEN" }
needs = ["sales"]
[probes.sales]
kind = "disk"
label = "\\t"
enabled = true
[probes.off]
kind = "disk"
enabled = false
[probes.bank]
kind = "sample"
preset = "adyen-eu"
"""


@pytest.mark.usefixtures("sample_kinds")
def test_what_is_shown_reads_back_to_the_same_probes() -> None:
    first = loaded(SHOWN)
    second = loaded(show(first))
    assert probes_of(second) == tuple(probe for probe in _with_everything_filled_in(first))
    assert show(second).split("\n")[1:] == show(first).split("\n")[1:]
    assert (second.language, second.site, second.contacts) == (first.language, first.site, first.contacts)
    assert second.schedule == first.schedule


def test_what_is_shown_of_page_and_centre_reads_back_to_the_same() -> None:
    first = loaded(
        '[site]\nstore = "0042"\nterminal = "T01"\n'
        '[web]\nlisten = "[2001:db8::2]:443"\nhosts = ["t01.store.example"]\ntoken = { credential = "page" }\n'
        '[web.tls]\ncertificate_file = "/etc/posagent/page.pem"\nkey_file = "/etc/posagent/page.key"\n'
        '[push.https]\nurl = "https://centre.example/v1/reports"\nsplay = "1m"\n'
        '[push.mqtt]\nhost = "mqtt.centre.example"\nversion = "3.1.1"\n'
    )
    second = loaded(show(first))
    assert (second.web, second.push) == (first.web, first.push)


def _with_everything_filled_in(found: config.Config) -> Iterator[Any]:
    import dataclasses

    import msgspec

    for probe in probes_of(found):
        filled = {key: getattr(probe, key) for key in ("interval", "timeout", "fail_after", "recover_after", "impact")}
        yield dataclasses.replace(probe, settings=msgspec.structs.replace(probe.settings, **filled))


@pytest.mark.usefixtures("sample_kinds")
def test_what_is_shown_holds_no_secret() -> None:
    text = show(
        loaded(
            '[probes.a]\nkind = "sample"\nhost = "h"\naccess_key = "hunter2"\n'
            'limits = { password = 1 }\n[site.tags]\npassword = "hunter2"\nlink = "https://h.example/?a=1&api_key=hunter2"\n[probes.c]\nkind = "sample"\nhost = "h"\n'
            'command = ["check", "--password", "hunter2", "--token=hunter2"]\n'
            '[probes.b]\nkind = "sample"\nhost = "h"\ntoken = { file = \'/etc/token\' }\n'
        )
    )
    assert "hunter2" not in text
    assert 'token = { file = "/etc/token" }' in text
    assert 'link = "https://h.example/?a=1&api_key=(not shown)"' in text
    assert 'command = ["check", "--password", "(not shown)", "--token=(not shown)"]' in text


@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (["mysql", "-p", "hunter2", "till"], ["mysql", "-p", "(not shown)", "till"]),
        (["mysql", "-phunter2"], ["mysql", "-p(not shown)"]),
        (["plink", "-pw", "hunter2"], ["plink", "-pw", "(not shown)"]),
        (["check", "--dbpassword", "hunter2"], ["check", "--dbpassword", "(not shown)"]),
        (["check", "--password hunter2 -v"], ["check", "--password (not shown) -v"]),
        (["sh", "-c", "q -v --password 'a hunter2'; r"], ["sh", "-c", "q -v --password (not shown) r"]),
        (["env", "DB_PASSWORD=hunter2", "q"], ["env", "DB_PASSWORD=(not shown)", "q"]),
        (["ftp", "till:hunter2@host.example"], ["ftp", "till:(not shown)@host.example"]),
        (["get", "https://hunter2@h.example/x"], ["get", "https://(not shown)@h.example/x"]),
        (["get", "-u", "till:hunter2"], ["get", "-u", "till:(not shown)"]),
        (["get", "-utill:hunter2"], ["get", "-utill:(not shown)"]),
        (["get", "-H", "Authorization: Bearer hunter2"], ["get", "-H", "Authorization: (not shown)"]),
        (["pos", "--version", "C:x", "a:1"], ["pos", "--version", "C:x", "a:1"]),
        (["get", "-u", "https://h.example:8443/x", "-v"], ["get", "-u", "https://h.example:8443/x", "-v"]),
    ],
)
@pytest.mark.usefixtures("sample_kinds")
def test_what_may_be_a_secret_in_a_command_is_not_shown(command: list[str], shown: list[str]) -> None:
    text = show(loaded(f'[probes.c]\nkind = "sample"\nhost = "h"\ncommand = {json.dumps(command)}\n'))
    assert f"command = {json.dumps(shown)}\n" in text
    assert "hunter2" not in text


def test_with_no_file_the_defaults_are_shown() -> None:
    assert show(config.Config()).startswith(
        '# no configuration file: built-in discovery\nlanguage = "auto"\n\n[site]\n'
    )
