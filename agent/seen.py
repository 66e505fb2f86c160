"""Who sees this till? The page on this PC, the file for node_exporter, the centre: what the daemon's loop owns of them.

report ─┬► Sight ─► agent.web: the page, /health.json, /metrics, in threads of their own
        ├► agent.textfile
        └► agent.push: kept first, then on its way to the centre
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from agent import homes
from agent.report import WaitingPart

if TYPE_CHECKING:
    from agent.incidents import Change, Incident
    from agent.journal import Journal
    from agent.keeper import Keeper
    from agent.plan import Plan
    from agent.push import Centre, Pushed
    from agent.push import Ways as PushWays
    from agent.reporter import Told
    from agent.store import Batch, Note
    from agent.textfile import Textfile
    from agent.texts import Language
    from agent.web import Page, Sight

NEVER = float("inf")


class Seen:
    """All of it happens in the loop's thread, nothing waits, nothing raises. What is not configured costs nothing."""

    def __init__(
        self,
        plan: Plan,
        keeper: Keeper,
        journal: Journal,
        ways: Callable[[], PushWays],
        env: Mapping[str, str] = os.environ,
    ) -> None:
        self._plan, self._keeper, self._journal, self._ways, self._env = plan, keeper, journal, ways, env
        self._told: Told | None = None
        self._notices: Mapping[str, int] = {}
        self._sight: Sight | None = None
        self._page: Page | None = None
        self._textfile: Textfile | None = None
        self._centre: Centre | None = None

    # --- what the loop calls ------------------------------------------------------------------------------------------

    def start(self) -> None:
        """The keeper is open: take up what waited in an earlier life, and open the page."""
        self._arrange()

    def about_to_tell(self) -> None:
        """The file with the newest report is about to be replaced: whoever must not lose it keeps it now."""
        if self._centre is not None:
            self._centre.about_to_report()

    def told(self, told: Told, encoded: bytes, *, changed: bool) -> None:
        """There is a new report. `changed`: it is more than a heartbeat."""
        self._told = told
        if self._sight is not None:
            self._sight.put(told.about.language, encoded)
        if self._textfile is not None:
            self._textfile.write(encoded)
        if self._centre is not None:
            self._centre.reported(encoded, told.about.seq, told.about.now, changed=changed)

    def changed(self, changes: Sequence[Change], wall: float) -> None:
        """Incidents were opened, changed or resolved. To be called before the batch with them is saved."""
        if self._centre is not None:
            for change in changes:
                self._centre.incident(change, wall)

    def taken_charge(self, incident: Incident, note: Note) -> None:
        """Somebody took charge of an incident."""
        if self._centre is not None:
            from agent.incidents import Change

            self._centre.incident(Change("changed", incident), note.at, note)

    def answered(self, news: Pushed) -> None:
        """What came of a parcel."""
        if self._centre is not None:
            self._centre.answered(news)

    def turn(self, now: float, wall: float, notices: Mapping[str, int]) -> None:
        """The loop came round; `notices`: how those to people stand."""
        self._notices = notices
        if self._centre is not None:
            self._centre.turn(now, wall)
        if self._sight is not None:
            self._sight.beat = now
            self._sight.counts = self._counts()
        if self._page is not None:
            self._page.tend(now)

    def wait(self, now: float) -> float:
        """Seconds until the next turn has something to do."""
        return self._centre.wait(now) if self._centre is not None else NEVER

    def clock_set(self, wall: float) -> None:
        """The wall clock was set."""
        if self._centre is not None:
            self._centre.clock_set(wall)

    def reload(self, plan: Plan) -> None:
        """A new configuration."""
        self._plan = plan
        self._arrange()

    def stop(self, grace: float) -> None:
        """Begin nothing any more; what is under way gets `grace` seconds."""
        if self._centre is not None:
            self._centre.stop(grace)
        if self._page is not None:
            self._page.stop(grace)

    def everything(self) -> Batch | None:
        """What a new state file must hold of this."""
        return self._centre.everything() if self._centre is not None else None

    # --- for the report -----------------------------------------------------------------------------------------------

    def problems(self) -> list[str]:
        """What keeps others from seeing this till, one sentence each."""
        parts = (self._page, self._textfile, self._centre)
        return [text for part in parts if part is not None for text in part.problems()]

    def waiting(self) -> WaitingPart:
        """What has not left this PC yet."""
        reports = self._centre.counts() if self._centre is not None else {}
        return WaitingPart(
            notices=self._notices.get("waiting", 0),
            reports=reports.get("reports_waiting", 0),
            dropped_reports=reports.get("reports_dropped", 0),
        )

    # --- within -------------------------------------------------------------------------------------------------------

    def _arrange(self) -> None:
        config = self._plan.config
        self._arrange_page()
        self._arrange_textfile(config.report.textfile)
        if self._centre is not None:
            self._centre.reload(self._plan)
        elif config.push.https is not None or config.push.mqtt is not None:
            from agent.push import Centre

            self._centre = Centre(self._plan, self._keeper, self._journal, self._ways(), self._env)
            self._centre.restore()

    def _arrange_page(self) -> None:
        settings = self._plan.config.web
        if self._page is not None:
            self._page.arrange(settings)
        elif settings.listen:
            from agent.web import Page, Sight

            self._sight = Sight(self._say)
            self._page = Page(settings, self._sight, homes.state(self._env), self._env)
            self._page.start()

    def _arrange_textfile(self, path: str | None) -> None:
        if path is None:
            self._textfile = None
        else:
            from agent.textfile import Textfile

            self._textfile = Textfile(path)

    def _say(self, language: Language) -> None:
        """Called from the page's threads: somebody reads another language than the store's."""
        told, sight = self._told, self._sight
        if told is not None and sight is not None:
            sight.put(language, told.in_language(language))

    def _counts(self) -> dict[str, float]:
        counts = {f"notices_{name}": float(count) for name, count in self._notices.items()}
        counts["notices_delivered"] = counts.pop("notices_sent", 0.0)
        if self._centre is not None:
            counts.update({name: float(count) for name, count in self._centre.counts().items()})
        return counts
