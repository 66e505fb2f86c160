"""A secret is read from its place, never from the configuration, and never shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agent.config import CannotReadSecret, Secret, resolve_secret

NOT_SYSTEMD = "$CREDENTIALS_DIRECTORY is not set; was this started by systemd with LoadCredential=?"


def test_from_a_file_without_the_line_end_an_editor_leaves(tmp_path: Path) -> None:
    for content in ("hunter2", "hunter2\n", "hunter2\r\n", "\ufeffhunter2\n"):
        (tmp_path / "secret").write_text(content)
        assert resolve_secret(Secret(file=str(tmp_path / "secret")), {}) == "hunter2"


def test_spaces_belong_to_the_secret(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(" hunter 2 \n")
    assert resolve_secret(Secret(file=str(tmp_path / "secret")), {}) == " hunter 2 "


def test_from_the_environment() -> None:
    assert resolve_secret(Secret(env="TOKEN"), {"TOKEN": "hunter2"}) == "hunter2"


def test_from_systemds_credentials(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("hunter2\n")
    assert resolve_secret(Secret(credential="token"), {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == "hunter2"


@pytest.mark.parametrize(
    ("secret", "message"),
    [
        (Secret(file="/nowhere/secret"), 'cannot read secret { file = "/nowhere/secret" }: No such file or directory'),
        (Secret(file="/"), 'cannot read secret { file = "/" }: not a regular file'),
        (Secret(env="TOKEN"), 'cannot read secret { env = "TOKEN" }: no such environment variable'),
        (Secret(env="EMPTY"), 'cannot read secret { env = "EMPTY" }: it is empty'),
        (
            Secret(credential="../token"),
            'cannot read secret { credential = "../token" }: a credential\'s name is a file name without directory',
        ),
        (Secret(credential="token"), f'cannot read secret {{ credential = "token" }}: {NOT_SYSTEMD}'),
    ],
)
def test_a_secret_that_cannot_be_had_says_why(secret: Secret, message: str) -> None:
    with pytest.raises(CannotReadSecret) as caught:
        resolve_secret(secret, {"EMPTY": ""})
    assert str(caught.value) == message


def test_an_empty_binary_or_endless_file_is_no_secret(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    os.mkfifo(tmp_path / "pipe")
    for name, why in (("empty", "it is empty"), ("binary", "not UTF-8 text"), ("pipe", "not a regular file")):
        with pytest.raises(CannotReadSecret, match=why):
            resolve_secret(Secret(file=str(tmp_path / name)), {})


def test_only_the_place_is_ever_shown(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2")
    secret = Secret(file=str(tmp_path / "secret"))
    resolve_secret(secret, {})
    assert "hunter2" not in repr(secret) + str(secret)
