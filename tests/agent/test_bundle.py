"""A bundle holds what support needs and nothing that may not leave the store, on any day."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pty
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from agent import bundle, bundled, config
from agent.bundle import Piece
from agent.incidents import Incident
from agent.store import Batch, Event, Note, Store
from probes.redact import scrub_data

CARD = "4111 1111 1111 1111"
SECRET = "hunter2/with+odd=signs"
CONFIG = """
[site]
store = "0042"
terminal = "T01"

[channels.desk]
kind = "webhook"
url = "https://desk.example/hook"
token = { env = "DESK_TOKEN" }

[probes.disk]
kind = "disk"
"""


def archive(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as opened:
        return {
            Path(member.name).name: opened.extractfile(member).read()  # type: ignore[union-attr]
            for member in opened.getmembers()
        }


def made(*pieces: Piece, secrets: tuple[str, ...] = ()) -> dict[str, bytes]:
    file = io.BytesIO()
    bundle.write(file, pieces, {"store": "0042"}, secrets, 1.8e9)
    return archive(file.getvalue())


def run(
    directory: Path, *words: str, text: str = CONFIG, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    (directory / "config.toml").write_text(text)
    return subprocess.run(
        [sys.executable, "-m", "agent", "bundle", *words],
        cwd=directory,
        env={
            **os.environ,
            "PYTHONPATH": str(Path(bundle.__file__).parent.parent),
            "POSAGENT_CONFIG": str(directory / "config.toml"),
            "STATE_DIRECTORY": str(directory / "state"),
            "DESK_TOKEN": SECRET,
            "LC_ALL": "C.UTF-8",
            **(env or {}),
        },
        capture_output=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def till(tmp_path: Path) -> Path:
    """A till with a past in which somebody wrote a card number and a secret."""
    state = tmp_path / "state"
    store = Store(state / "state.sqlite")
    incident = Incident(
        id="261122-TEST", cause="isp.down", party="isp", category="network", confidence="likely", fingerprint="f",
        impact="stop", began_at=1.8e9, opened_at=1.8e9, probes=("line",), headline=f"down, card {CARD}",
    )  # fmt: skip
    store.save(Batch(incidents=[incident], events=[Event(at=time.time(), what="dark", facts={"why": "power_cut"})]))
    store.add_note(Note(incident="261122-TEST", at=1.8e9, by="Li", text=f"typed {SECRET} and {CARD} by mistake"))
    store.close()
    (state / "health.json").write_text(json.dumps({"schema": "posagent.report/1", "said": f"card {CARD}"}))
    return tmp_path


def test_a_hash_that_looks_like_card_data_is_a_hash() -> None:
    hashed = hashlib.sha256(b"17").hexdigest()
    assert scrub_data({"sha256": hashed}) != {"sha256": hashed}, "else this proves nothing"
    manifest = json.loads(made(Piece("seventeen.txt", lambda: "17"))["manifest.json"])
    assert manifest["pieces"][0]["sha256"] == hashed


def test_the_manifest_names_every_piece_with_its_hash(till: Path) -> None:
    done = run(till, "out.tar.gz")
    assert done.returncode == 0, done.stderr
    pieces = archive((till / "out.tar.gz").read_bytes())
    manifest = json.loads(pieces["manifest.json"])
    assert (manifest["store"], manifest["terminal"]) == ("0042", "T01")
    listed = {entry["name"]: entry for entry in manifest["pieces"] if entry["missing"] is None}
    assert set(listed) == set(pieces) - {"manifest.json"}
    assert {"report.json", "incidents.json", "history.json", "outbox.json", "configuration.toml", "system.txt"} <= set(
        listed
    )
    for name, entry in listed.items():
        assert entry["sha256"] == hashlib.sha256(pieces[name]).hexdigest()
        assert entry["bytes"] == len(pieces[name])


def test_neither_card_data_nor_a_secret_is_in_it(till: Path) -> None:
    run(till, "out.tar.gz")
    pieces = archive((till / "out.tar.gz").read_bytes())
    everything = b"\n".join(pieces.values()).decode()
    assert "261122-TEST" in everything
    assert "by mistake" in everything
    for never in (CARD, CARD.replace(" ", ""), SECRET, "hunter2"):
        assert never not in everything
    assert oct(os.stat(till / "out.tar.gz").st_mode & 0o777) == "0o600"


def test_it_goes_to_stdout_and_nothing_else_does(till: Path) -> None:
    done = run(till, "-")
    assert "manifest.json" in archive(done.stdout)
    assert list(till.glob("*.tar.gz")) == []


def test_without_state_report_and_log_it_says_what_is_missing(tmp_path: Path) -> None:
    done = run(tmp_path, "-", env={"PATH": "/nowhere"})
    assert done.returncode == 0
    assert b"without report.json" in done.stderr
    assert b"without incidents.json" in done.stderr
    assert {"configuration.toml", "system.txt", "manifest.json"} <= set(archive(done.stdout))


def test_a_broken_configuration_goes_along_with_its_problems_and_without_its_secrets(till: Path) -> None:
    broken = 'token = "s3cr3t-in-the-clear"\nurl = "https://li:pa55@desk.example/"\nlanguage = 7\nkept = "yes"\n'
    done = run(till, "-", text=broken)
    assert done.returncode == 0
    pieces = archive(done.stdout)
    assert b"language" in pieces["configuration.toml"]
    assert b'kept = "yes"' in pieces["configuration-as-written.toml"]
    assert b"s3cr3t" not in b"".join(pieces.values())
    assert b"pa55" not in b"".join(pieces.values())


def test_a_full_disk_leaves_no_half_archive_and_names_the_way_out(till: Path) -> None:
    done = run(till, "/dev/full/x.tar.gz")
    assert done.returncode == 73
    assert b"- for stdout" in done.stderr


def test_an_archive_is_not_poured_onto_a_terminal(till: Path) -> None:
    ours, theirs = pty.openpty()
    (till / "config.toml").write_text(CONFIG)
    done = subprocess.run(
        [sys.executable, "-m", "agent", "bundle", "-"], cwd=Path(bundle.__file__).parent.parent, stdout=theirs,
        stderr=subprocess.PIPE, env={**os.environ, "STATE_DIRECTORY": str(till / "state")}, timeout=30, check=False,
    )  # fmt: skip
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 64
    assert b"it is an archive" in done.stderr


def test_an_existing_file_is_kept(till: Path) -> None:
    (till / "out.tar.gz").write_text("precious")
    assert run(till, "out.tar.gz").returncode == 73
    assert (till / "out.tar.gz").read_text() == "precious"


def test_no_piece_and_no_bundle_outgrows_its_cap() -> None:
    long = "line 0\n" + "the terminal did not answer in time, tried again\n" * 25_000 + "line 299999"
    pieces = made(Piece("log.txt", lambda: long, keep_end=True), Piece("a.txt", lambda: long))
    assert len(pieces["log.txt"]) == bundle.PIECE_BYTES
    assert pieces["log.txt"].endswith(b"line 299999")
    assert pieces["a.txt"].startswith(b"line 0\n")
    assert all(entry["cut"] for entry in json.loads(pieces["manifest.json"])["pieces"])
    many = made(*(Piece(f"{number}.txt", lambda: long) for number in range(20)))
    assert sum(map(len, many.values())) < bundle.WHOLE_BYTES + 10_000


def test_a_piece_that_fails_costs_no_other() -> None:
    def fails() -> object:
        raise RuntimeError(f"no {CARD} for {SECRET}")

    pieces = made(Piece("a.json", fails), Piece("b.json", lambda: {"x": 1}), secrets=(SECRET,))
    (missing, _) = json.loads(pieces["manifest.json"])["pieces"]
    assert missing["missing"].startswith("RuntimeError")
    assert SECRET not in missing["missing"]
    assert "4111" not in missing["missing"]
    assert json.loads(pieces["b.json"]) == {"x": 1}


@pytest.mark.parametrize("spelled", [SECRET, json.dumps(SECRET), "hunter2%2Fwith%2Bodd%3Dsigns"])
def test_a_secret_is_found_however_it_is_spelled(spelled: str) -> None:
    assert "hunter2" not in bundle.conceal(f"x={spelled}&y", [SECRET])


def test_secrets_are_also_those_of_the_page_and_the_centre(tmp_path: Path) -> None:
    names = ("PAGE", "POST", "PROXY", "BROKER")
    (tmp_path / "c.toml").write_text(
        '[site]\nstore = "1"\nterminal = "1"\n[web]\ntoken = { env = "PAGE" }\n'
        '[push.https]\nurl = "https://c.example/"\ntoken = { env = "POST" }\nproxy = { env = "PROXY" }\n'
        '[push.mqtt]\nhost = "c.example"\nuser = "u"\npassword = { env = "BROKER" }\n'
    )
    env = {name: f"secret of {name}" for name in names}
    assert bundled.secrets(config.load(tmp_path / "c.toml"), env) == set(env.values())


def test_secrets_are_those_of_the_channels(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(CONFIG)
    assert bundled.secrets(config.load(tmp_path / "c.toml"), {"DESK_TOKEN": SECRET}) == {SECRET}
    assert bundled.secrets(config.load(tmp_path / "c.toml"), {}) == set()
