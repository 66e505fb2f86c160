"""A real `posagent run` in a place of its own, and whoever watches it: its report, its state file, its log.

What a probe of it sees is what a file says: its kind `lab` comes in by an entry point, as any third party's.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from agent.store import Store

HERE = Path(__file__).parent
POSAGENT = Path(sys.executable).with_name("posagent")
WITH_PARENT = ("setpriv", "--pdeathsig", "KILL", "--")
SCHEDULE = {"interval": 1, "retry_interval": 1, "timeout": 1, "fail_after": 1, "recover_after": 1, "reopen_within": 0}
"""As fast as a configuration may ask for."""
Report = dict[str, Any]


class Till:
    """One daemon, its configuration, its memory. A context manager: nothing of it outlives the block."""

    def __init__(
        self,
        home: Path,
        *,
        state: Path | None = None,
        report: Path | None = None,
        inside: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        heartbeat: str = "10s",
        **schedule: float,
    ) -> None:
        """`inside`: the command that enters a namespace; `env`: what its environment has besides."""
        home.mkdir(parents=True, exist_ok=True)
        self.home, self.inside = home, inside
        self.state = state or home / "state"
        self.report_path = report or self.state / "health.json"
        self.config, self.log = home / "config.toml", home / "log"
        self.heartbeat, self.schedule = heartbeat, {**SCHEDULE, **schedule}
        self.listen, self.more = "", ""
        """Where the status page is, if any, and further sections."""
        self.probes: dict[str, dict[str, Any]] = {}
        self.process: subprocess.Popen[bytes] | None = None
        (home / "words").mkdir(exist_ok=True)
        (home / "looks").mkdir(exist_ok=True)
        self.env = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "STATE_DIRECTORY": str(self.state),
            "POSAGENT_CONFIG": str(self.config),
            "PYTHONPATH": f"{_third_party(home / 'site')}:{os.environ.get('PYTHONPATH', '')}".rstrip(":"),
            **(env or {}),
        }

    def __enter__(self) -> Till:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            print(self.said()[-4000:])
        self.kill()

    # --- what it looks at ---------------------------------------------------------------------------------------------

    def watch(self, name: str, kind: str = "lab", /, **settings: Any) -> None:
        """One more probe in the configuration to be written."""
        if kind == "lab":
            settings = {"word": str(self.home / "words" / name), "log": str(self.home / "looks" / name), **settings}
        self.probes[name] = {"kind": kind, **settings}

    def tell(self, name: str, word: str) -> None:
        """What the `lab` probe of that name sees from now on: ok, warn, fail, unknown; hang (for ever), wait."""
        fresh = self.home / "words" / f".{name}"
        fresh.write_text(word)
        fresh.replace(self.home / "words" / name)

    def looks(self, name: str) -> list[float]:
        """When a `lab` probe was looked at: monotonic seconds, the same in every process."""
        try:
            return [float(line) for line in (self.home / "looks" / name).read_text().splitlines()]
        except FileNotFoundError:
            return []

    def write_config(self, text: str | None = None) -> None:
        """Write the configuration, or this instead."""
        if text is None:
            schedule = "".join(f"{key} = {value}\n" for key, value in self.schedule.items())
            probes = "".join(
                f'[probes."{name}"]\n' + "".join(f"{key} = {json.dumps(value)}\n" for key, value in settings.items())
                for name, settings in self.probes.items()
            )
            report = f'path = "{self.report_path}"\nheartbeat = "{self.heartbeat}"\n'
            web = f'[web]\nlisten = "{self.listen}"\n'
            text = f'language = "en"\n[schedule]\n{schedule}[report]\n{report}{web}{self.more}{probes}'
        fresh = self.config.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self.config)

    # --- its life -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it; returns at once."""
        if not self.config.exists():
            self.write_config()
        with self.log.open("ab") as sink:
            self.process = subprocess.Popen(
                [*WITH_PARENT, *self.inside, POSAGENT, "run"],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=sink,
                env=self.env,
            )

    def begin(self, limit: float = 20.0) -> Report:
        """Start it and wait until it has looked at everything and said so."""
        before = self.report()
        self.start()
        return self.until(lambda report: before is None or report["seq"] != before["seq"], "a first report", limit)

    @property
    def pid(self) -> int:
        """Of the daemon; it must live."""
        assert self.process is not None and self.process.poll() is None, self.said()
        return self.process.pid

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
            self.process.wait(10)
            self.process = None

    def stop(self) -> float:
        """SIGTERM; how many seconds it took to end, well."""
        began, process = time.monotonic(), self.process
        assert process is not None
        self.signal(signal.SIGTERM)
        try:
            code = process.wait(15)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it does not end: {self.said()}") from None
        self.process = None
        assert code == 0, self.said()
        return time.monotonic() - began

    # --- what it says -------------------------------------------------------------------------------------------------

    def report(self) -> Report | None:
        """The report as it is now, whole; None where there is none or its disk cannot be read."""
        try:
            content = self.report_path.read_bytes()
        except OSError:
            return None
        found: Report = json.loads(content)
        return found

    def until(self, is_so: Callable[[Report], object], what: str = "that", limit: float = 15.0) -> Report:
        """The first report of which this is true."""
        ends = time.monotonic() + limit
        while True:
            found = self.report()
            if found is not None and is_so(found):
                return found
            assert self.process is None or self.process.poll() is None, f"it died: {self.said()}"
            assert time.monotonic() < ends, f"it did not come to {what}; report: {_brief(found)}; log: {self.said()}"
            time.sleep(0.02)

    def until_incident(self, probe: str, limit: float = 15.0) -> dict[str, Any]:
        """The open incident of this probe, once there is one."""
        said = self.until(lambda report: incident_of(report, probe), f"an incident of {probe}", limit)
        found = incident_of(said, probe)
        assert found is not None
        return found

    def until_well(self, probe: str, limit: float = 15.0) -> Report:
        """Once no incident of this probe is open any more."""
        return self.until(lambda report: incident_of(report, probe) is None, f"no incident of {probe}", limit)

    def until_problem(self, *words: str, limit: float = 15.0) -> str:
        """The sentence of `agent.problems` that has all these words in it, once there is one."""
        said = self.until(lambda report: _with(words, report), f"a problem with {words}", limit)
        return _with(words, said)

    def until_said(self, words: str, limit: float = 15.0) -> None:
        """Once its log says this."""
        ends = time.monotonic() + limit
        while words not in self.said():
            assert time.monotonic() < ends, f"it never said {words}: {self.said()}"
            time.sleep(0.02)

    def said(self) -> str:
        """Its whole log."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    @contextlib.contextmanager
    def memory(self) -> Iterator[Store]:
        """Its state file, read from a copy, so that nothing here touches the real one."""
        place = self.home / "copy"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        for tail in ("", "-wal"):
            source = self.state / f"state.sqlite{tail}"
            if source.exists():
                shutil.copyfile(source, place / source.name)
        with contextlib.closing(Store(place / "state.sqlite")) as store:
            assert store.problems == []
            yield store

    def asides(self) -> list[str]:
        """Damaged state files that were moved aside."""
        return sorted(p.name for p in self.state.glob("*.corrupt-*") if not p.name.endswith(("-wal", "-shm")))

    # --- what it costs ------------------------------------------------------------------------------------------------

    def cpu(self) -> float:
        """Seconds of CPU it has used."""
        words = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")

    def rss_kb(self) -> int:
        """Memory of its own."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:"))

    def threads(self) -> int:
        """How many it has."""
        return len(os.listdir(f"/proc/{self.pid}/task"))

    def files(self) -> int:
        """File descriptors it has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))


def incident_of(report: Report, probe: str) -> dict[str, Any] | None:
    """The open incident of a probe; never two."""
    found = [each for each in report["incidents"] if probe in each["probes"]]
    assert len(found) <= 1, f"one fault, several incidents: {found}"
    return found[0] if found else None


def probe_of(report: Report, name: str) -> dict[str, Any]:
    """What the report says of one probe."""
    found: dict[str, Any] = next(each for each in report["probes"] if each["name"] == name)
    return found


def moment(stamp: str) -> float:
    """A time of the report: Unix seconds."""
    return datetime.fromisoformat(stamp).timestamp()


def events(report: Report, what: str) -> list[str]:
    """The texts of the events of this sort that the report tells."""
    return [each["text"] for each in report["agent"]["events"] if each["what"] == what]


def _with(words: Sequence[str], report: Report) -> str:
    return next((each for each in report["agent"]["problems"] if all(word in each for word in words)), "")


def _brief(report: Report | None) -> object:
    if report is None:
        return None
    probes = [f"{each['name']}: {each['reason']}" for each in report["probes"] if each["reason"] != "ok"]
    return report["seq"], report["agent"], report["incidents"], probes[:20]


def _third_party(site: Path) -> Path:
    """An installed package, as far as Python can tell, that brings the kind `lab`."""
    info = site / "posagent_lab-1.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "labkind.py", site / "labkind.py")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: posagent-lab\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[posagent.probes]\nlab = labkind:KIND\n")
    return site
