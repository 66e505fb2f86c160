"""Each form of a secret works, and appears nowhere; the page about channels holds what it promises."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from agent import config
from agent.channels import send
from agent.config import describe
from agent.config.channels import KINDS, WebChannel, Webhook
from agent.config.read import Source
from agent.config.secret import Secret, secrets_of
from agent.config.show import show
from agent.outcome import concealed
from probes.host import resolve
from tests.agent.doubles import MESSAGE, SECRET, Town, always, answer

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/channels.md").read_text("utf-8")
BLOCKS = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def loaded(text: str) -> config.Config:
    return config.parse(Source("config.toml", text.encode()))


@pytest.fixture
def town(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Town:
    monkeypatch.setattr(resolve, "_getaddrinfo", lambda name: ("127.0.0.1",))
    return Town(tmp_path)


@pytest.mark.parametrize("form", ["file", "env", "credential"])
def test_each_form_works_and_is_read_anew_for_every_message(form: str, town: Town, tmp_path: Path) -> None:
    path = tmp_path / "centre-token"
    secret = {"file": Secret(file=str(path)), "env": Secret(env="T"), "credential": Secret(credential="centre-token")}
    env = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    with town.serving("centre.example", always(answer("200 OK"))) as double:
        hook = Webhook(kind="webhook", url=double.url, ca_file=double.ca_file, token=secret[form])
        for token in ("first-token", "second-token"):
            path.write_text(token + "\n")
            assert send(hook, MESSAGE, env=env | {"T": token}).ok
        assert [asked.headers["authorization"] for asked in double.asked] == [
            "Bearer first-token",
            "Bearer second-token",
        ]
    path.unlink()
    lost = send(hook, MESSAGE, env={})
    assert (lost.ok, lost.permanent) == (False, False)
    assert lost.detail.startswith(f"cannot read secret {secret[form]}")


@pytest.mark.parametrize("text", BLOCKS)
def test_every_example_of_the_page_is_a_working_configuration(text: str) -> None:
    found = loaded(text)
    assert found.channels
    assert loaded(show(found)).channels == found.channels


def test_the_page_has_an_example_of_every_kind_and_every_setting_of_it() -> None:
    used: dict[str, set[str]] = {}
    for block in BLOCKS:
        for name, channel in loaded(block).channels.items():
            table = block.partition(f"[channels.{name}]\n")[2].partition("\n[channels.")[0]
            used.setdefault(channel.kind, set()).update(re.findall(r"^(\w+) = ", table, re.MULTILINE))
    assert set(used) == set(KINDS)
    everywhere = {"format"}  # the same two words in every kind
    for kind, struct in KINDS.items():
        own = {setting.name for setting in describe.own_channel_settings(struct)} - everywhere
        if kind == "apprise":
            own -= {"proxy", "ca_file"}
        missing = {name for name in own - used[kind] if name not in ("ca_file", "api", "port")}
        assert not missing, (kind, missing)
        assert f"\n## {kind}\n" in PAGE


def test_what_is_shown_of_channels_holds_only_the_places_of_secrets(tmp_path: Path) -> None:
    (tmp_path / "url").write_text(f"https://hooks.slack.com/services/{SECRET}\n")
    text = show(loaded(f"[channels.a]\nkind = \"slack\"\nurl = {{ file = '{tmp_path}/url' }}\n"))
    assert f'url = {{ file = "{tmp_path}/url" }}' in text
    assert SECRET not in text


def test_the_whole_program_shows_and_checks_them_without_reading_them(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('[channels.a]\nkind = "slack"\nurl = { env = "SLACK_URL" }\n')
    for words in (["config", "show"], ["config", "check"]):
        done = subprocess.run(
            [sys.executable, "-m", "agent", *words, "--config", str(tmp_path / "config.toml")],
            env={"PATH": os.environ["PATH"], "SLACK_URL": f"https://h.example/{SECRET}", "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert SECRET not in done.stdout + done.stderr


def test_every_secret_setting_is_found_by_its_name() -> None:
    hook = loaded(
        '[channels.a]\nkind = "webhook"\nurl = { env = "U" }\ntoken = { env = "T" }\nsignature = { env = "S" }\n'
        'proxy = { env = "P" }\nheaders = { X-A = { env = "H" }, X-B = "plain" }\n'
    ).channels["a"]
    assert secrets_of(hook) == {
        "url": Secret(env="U"),
        "token": Secret(env="T"),
        "signature": Secret(env="S"),
        "proxy": Secret(env="P"),
        "headers.X-A": Secret(env="H"),
    }


def test_no_setting_that_names_a_secret_takes_plain_text() -> None:
    for kind, struct in KINDS.items():
        for setting in describe.own_channel_settings(struct):
            if setting.name in ("token", "password", "sign", "signature", "routing_key", "secrets"):
                with contextlib.suppress(config.ConfigError):
                    loaded(f'[channels.a]\nkind = "{kind}"\n{setting.name} = "hunter2"\n')
                    pytest.fail(f"{kind}.{setting.name} takes plain text")


@pytest.mark.parametrize(
    ("text", "secrets", "shown"),
    [
        ("no such key abcdef", ["abcdef"], "no such key (not shown)"),
        ("a\nb\x00c", [], "a b c"),
        ("GET /hook/abc123def?x=1", ["https://h.example/hook/abc123def?x=1"], "GET (not shown)"),
        ("host h.example is down", ["https://h.example/hook/abc123def"], "host h.example is down"),
        ("user till at h", ["https://till:hunter2@h.example/"], "user (not shown) at h"),
        ("abc%2Fdef", ["abc/def"], "(not shown)"),
        ("cut: abcdefgh", ["abcdefghijkl"], "cut: (not shown)"),
        ("x" * 500, [], "x" * 299 + "…"),
        ("", ["secret"], ""),
        ("text", [""], "text"),
    ],
)
def test_concealing(text: str, secrets: list[str], shown: str) -> None:
    assert concealed(text, secrets) == shown


def test_channels_over_https_are_those_that_take_a_proxy() -> None:
    for struct in KINDS.values():
        names = struct.__struct_fields__
        assert issubclass(struct, WebChannel) <= ("proxy" in names and "ca_file" in names)
