"""
A month of a shop in which a rule fires for nothing, with what people did about it.

`queue_long` fires at every peak; three times something was wrong. `jobs_pile_up` got a limit 16 days ago with which it
missed an incident. Of another incident nothing told anybody.
"""

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from toban.core.clock import SystemClock
from toban.core.labels import Labels
from toban.core.metric_registry import MetricRegistry
from toban.core.replay import ReplayedFiring
from toban.incidents import lifecycle
from toban.incidents import repository as incidents
from toban.incidents.incident import EntryKind, IncidentState, TimelineEntry
from toban.review import limit_repository
from toban.review import repository as firings
from toban.review.firing import Firing, FiringAct
from toban.review.follow_up import AppliedLimit
from toban.state.backends import SqliteBackend
from toban.state.database import State

STEP = timedelta(minutes=5)
DAY = timedelta(days=1)
DAYS = 30
STEPS = DAYS * DAY // STEP
RULE = "queue_long"
RULES = """
groups:
- name: noisy
  interval: 5m
  rules:
  - {alert: queue_long, expr: queue_length > 80, labels: {severity: warning}}
  - {alert: jobs_pile_up, expr: pending_jobs > 60, labels: {severity: warning}}
"""
INCIDENTS = {
    1: ("Mails are not sent", 1_000, 14, 150.0),
    2: ("The queue of mails stands still", 4_000, 14, 160.0),
    3: ("A campaign was too much", 6_000, 8, 108.0),
}
"""Number, title, first step, length and value."""
SILENT = (4, "Customers can't pay", 2_500, 12)
PILE = (5, "Jobs are not worked off", 7_200, 10)
APPLIED = 16
"""How many days ago the limit of `jobs_pile_up` was applied."""


class NoisyShop:
    """Samples that end half an hour before now, and what is in state."""

    def __init__(self, now: datetime | None = None) -> None:
        end = (now or datetime.now(UTC)) - timedelta(minutes=30)
        self.begin = datetime.fromtimestamp(end.timestamp() // 300 * 300, UTC) - STEPS * STEP
        chance = np.random.default_rng(1)
        self.queue = 40 + chance.normal(0, 8, STEPS).clip(-20, 20)
        self.jobs = 20 + chance.normal(0, 3, STEPS).clip(-9, 9)
        self.peaks = [int(it) for it in np.arange(100, STEPS - 100, 210) if not self._is_near(int(it))]
        self.queue[self.peaks] = chance.uniform(83, 100, len(self.peaks))
        for _, first, length, value in INCIDENTS.values():
            self.queue[first : first + length] = value
        self.piles = [int(it) for it in range(200, (DAYS - APPLIED) * 288 - 50, 150)]
        self.jobs[self.piles] = 55
        self.jobs[PILE[2] : PILE[2] + PILE[3]] = 57

    @staticmethod
    def _is_near(step: int) -> bool:
        return any(first - 20 < step < first + length + 20 for _, first, length, _ in INCIDENTS.values())

    def at(self, step: int) -> datetime:
        """Return the time of a step."""
        return self.begin + step * STEP

    def prepare(self, folder: Path) -> None:
        """Write the rules, the samples, and the state in the folder `data`."""
        (folder / "rules.yaml").write_text(RULES, encoding="utf-8")
        (folder / "history.om").write_text("\n".join([*self._lines(), "# EOF", ""]), encoding="utf-8")
        (folder / "data").mkdir(exist_ok=True)
        # In a thread of its own: while Playwright runs, so does its event loop.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(lambda: asyncio.run(self._write_state(folder / "data" / "toban.db"))).result()

    def _lines(self) -> Iterator[str]:
        series = {
            'queue_length{queue="mail"}': self.queue,
            'pending_jobs{queue="mail"}': self.jobs,
            # It ran all the time: rules were evaluated.
            'process_start_time_seconds{job="toban"}': np.full(STEPS, self.begin.timestamp()),
        }
        for name, values in series.items():
            yield f"# TYPE {name.partition('{')[0]} gauge"
            start = self.begin.timestamp()
            yield from (f"{name} {value:.15g} {start + it * 300:.0f}" for it, value in enumerate(values.tolist()))

    async def _write_state(self, path: Path) -> None:
        clock = SystemClock()
        async with State(SqliteBackend(path), clock, MetricRegistry()) as state:
            await state.transaction(self._write)

    def _write(self, connection: object) -> None:
        found = [*self._firings("queue_long", self.peaks), *self._firings("jobs_pile_up", self.piles)]
        found += [
            self._firing("queue_long", first, length, (FiringAct("note", self.at(first), "ann"),))
            for _, first, length, _ in INCIDENTS.values()
        ]
        firings.save(connection, [(None, it) for it in found])
        for number, (title, first, length, _) in INCIDENTS.items():
            self._incident(connection, number, title, first, length)
        self._incident(connection, *SILENT)
        self._incident(connection, *PILE)
        zero, at = timedelta(), self.at((DAYS - APPLIED) * 288)
        applied = AppliedLimit("jobs_pile_up", at, "ann", 50.0, zero, 60.0, zero, 40, 26, 2, 89.9, "quantile 99.9%")
        limit_repository.add_applied(connection, applied)

    def _firings(self, rule: str, steps: list[int]) -> list[Firing]:
        return [self._firing(rule, it, 1) for it in steps]

    def _firing(self, rule: str, step: int, length: int, acts: tuple[FiringAct, ...] = ()) -> Firing:
        labels = Labels(alertname=rule, queue="mail", severity="warning")
        at = self.at(step)
        name = ReplayedFiring(labels, at, at).fingerprint
        return Firing(rule, name, labels, at, at, f"{at:%Y-%m}", at + length * STEP, messages=1, pages=1, acts=acts)

    def _incident(self, connection: object, number: int, title: str, first: int, length: int) -> None:
        begin, end = self.at(first), self.at(first + length)
        opened = lifecycle.opened(number, title, "P2", begin, begin).incident
        ended = replace(opened, state=IncidentState.RESOLVED, resolved=end, escalation=None)
        incidents.save_incident(connection, ended)
        incidents.add_entries(connection, [TimelineEntry(number, begin, EntryKind.NOTE, "ann", {"text": "restarted"})])
