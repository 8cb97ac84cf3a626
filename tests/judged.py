"""Rules judged in virtual time: no loop, no sleeping."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from tests.fakes import FakeClock, ListSink
from toban.alerting.alert_store import Ledger
from toban.alerting.rule_file import Group, read
from toban.alerting.service import Evaluating
from toban.core.alerts import TOPIC, Change
from toban.core.metric_registry import Meters
from toban.core.ports import Condition
from toban.core.samples import milliseconds
from toban.promql.engine import Engine
from toban.promql.query_batch import Reply, replies
from toban.promql.test_runner import MemorySource
from toban.state import event_log
from toban.state.backends import Sqlite
from toban.state.database import State

DOWN = """
groups:
- name: shop
  rules:
  - alert: down
    expr: up == 0
    for: 1m
    labels: {severity: critical}
    annotations: {summary: "{{ $labels.job }} is down"}
"""
"""One rule: what is down for a minute."""


class Asked:
    """An engine that answers in the same breath; raises ``trouble`` instead when there is some."""

    def __init__(self, source: MemorySource) -> None:
        self.engine = Engine(source)
        self.trouble: Exception | None = None

    async def instant(self, query, at, *, patience=None):
        if self.trouble:
            raise self.trouble
        return self.engine.instant(query, at)

    async def replies(self, queries: Sequence[str], at: int) -> list[Reply]:
        return [Reply(self.trouble)] if self.trouble else replies(self.engine, queries, at)


class Judged:
    """
    One life of `Evaluating` over a source, a folder and a clock that outlive it.

    ``urgent`` holds what was told while state was away.
    """

    def __init__(self, groups: Sequence[Group], source: MemorySource, state: State, folder: Path, clock: FakeClock):
        self.engine = Asked(source)
        self.sink = ListSink()
        self.urgent: list[Change] = []
        self.conditions: list[tuple[str, Condition]] = []
        self.errors: dict[str, str] = {}
        """What the last collection of a job failed with."""
        self.clock = clock
        self.state = state

        async def urgent(changes: Sequence[Change]) -> None:
            self.urgent.extend(changes)

        self.ledger = Ledger(state, folder, lambda: None, urgent)
        self.evaluating = Evaluating(
            groups,
            timedelta(seconds=15),
            self.ledger,
            self.engine,
            self.sink,
            state,
            clock,
            Meters(),
            conditions=lambda: self.conditions,
            last_error=lambda labels: self.errors.get(labels.get("job", ""), ""),
        )

    async def until(self, seconds: float, every: float = 15) -> None:
        """Judge every so often until so many seconds have passed since the epoch of the test."""
        end = BEGAN + timedelta(seconds=seconds)
        while self.clock.now() < end:
            for bench in self.evaluating.benches:
                await self.evaluating.judge(bench)
            await self.evaluating.judge_itself()
            self.clock.advance(every)

    async def told(self) -> list[tuple[str, str]]:
        """Return every change that the feed holds: status and name."""
        changes = await self.state.transaction(lambda connection: _all(connection))
        return [(change.alert.status.value, change.alert.name) for change in changes]

    async def changes(self) -> list[Change]:
        """Return every change that the feed holds."""
        return await self.state.transaction(lambda connection: _all(connection))


BEGAN = FakeClock().now()


def _all(connection) -> list[Change]:
    rows = connection.execute(
        event_log.select(event_log.FEED).where(event_log.FEED.c.topic == TOPIC).order_by(event_log.FEED.c.position)
    )
    return [Change.read(row.body) for row in rows]


@asynccontextmanager
async def judged(
    rules: str, source: MemorySource, folder: Path, clock: FakeClock, targets: Iterable[str] = ()
) -> AsyncIterator[Judged]:
    """Start a life: state opens from the folder, and closes again."""
    async with State(Sqlite(folder / "toban.db"), clock, Meters()) as state:
        life = Judged(read(rules, "rules.yaml"), source, state, folder, clock)
        life.evaluating._targets = sorted(targets)
        await life.evaluating.open()
        yield life


def loaded(text: str, step: str = "15s") -> MemorySource:
    """Return a source with series as promtool writes them, from the test's beginning on."""
    source = MemorySource()
    source.load(f"load {step}\n" + "\n".join(f"  {line}" for line in text.splitlines()), start=milliseconds(BEGAN))
    return source
