"""Rules judged in virtual time: no loop, no sleeping."""

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

from tests.fakes import FakeClock, ListSink
from tests.promql_scripts import ScriptSource
from toban.alerting.alert_store import AlertStore
from toban.alerting.rule_file import RuleGroup, parse_rule_file
from toban.alerting.service import EvaluationService
from toban.core.alerts import TOPIC, AlertChange
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import HealthStatus
from toban.core.query_result import BatchResult
from toban.core.samples import milliseconds
from toban.promql.engine import PromqlEngine
from toban.promql.query_batch import run_batch
from toban.state import event_log
from toban.state.backends import SqliteBackend
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

    def __init__(self, source: ScriptSource) -> None:
        self.engine = PromqlEngine(source)
        self.trouble: Exception | None = None

    async def instant(self, query, at, *, time_limit=None):
        if self.trouble:
            raise self.trouble
        return self.engine.instant(query, at)

    async def run_batch(self, queries: Sequence[str], at: int) -> list[BatchResult]:
        return [BatchResult(self.trouble)] if self.trouble else run_batch(self.engine, queries, at)


class Judged:
    """
    One life of `Evaluating` over a source, a folder and a clock that outlive it.

    ``urgent`` holds what was told while state was away.
    """

    def __init__(
        self,
        groups: Sequence[RuleGroup],
        source: ScriptSource,
        state: State,
        folder: Path,
        clock: FakeClock,
        targets: Iterable[str] = (),
    ):
        self.engine = Asked(source)
        self.sink = ListSink()
        self.urgent: list[AlertChange] = []
        self.conditions: list[tuple[str, HealthStatus]] = []
        self.errors: dict[str, str] = {}
        """What the last collection of a job failed with."""
        self.clock = clock
        self.state = state

        async def urgent(changes: Sequence[AlertChange]) -> None:
            self.urgent.extend(changes)

        self.ledger = AlertStore(state, folder, lambda: None, urgent)
        self.evaluating = EvaluationService(
            groups,
            timedelta(seconds=15),
            self.ledger,
            self.engine,
            self.sink,
            state,
            clock,
            MetricRegistry(),
            health=lambda: self.conditions,
            targets=targets,
            last_error=lambda labels: self.errors.get(labels.get("job", ""), ""),
        )

    async def until(self, seconds: float, every: float = 15) -> None:
        """Judge every so often until so many seconds have passed since the epoch of the test."""
        end = BEGAN + timedelta(seconds=seconds)
        while self.clock.now() < end:
            for bench in self.evaluating.groups:
                await self.evaluating.evaluate(bench)
            await self.evaluating.evaluate_self()
            self.clock.advance(every)

    async def told(self) -> list[tuple[str, str]]:
        """Return every change that the feed holds: status and name."""
        changes = await self.state.transaction(lambda connection: _all(connection))
        return [(change.alert.status.value, change.alert.name) for change in changes]

    async def changes(self) -> list[AlertChange]:
        """Return every change that the feed holds."""
        return await self.state.transaction(lambda connection: _all(connection))


BEGAN = FakeClock().now()


def _all(connection) -> list[AlertChange]:
    rows = connection.execute(
        event_log.select(event_log.EVENTS)
        .where(event_log.EVENTS.c.topic == TOPIC)
        .order_by(event_log.EVENTS.c.position)
    )
    return [AlertChange.from_dict(row.body) for row in rows]


@asynccontextmanager
async def judged(
    rules: str, source: ScriptSource, folder: Path, clock: FakeClock, targets: Iterable[str] = ()
) -> AsyncIterator[Judged]:
    """Start a life: state opens from the folder, and closes again."""
    async with State(SqliteBackend(folder / "toban.db"), clock, MetricRegistry()) as state:
        life = Judged(parse_rule_file(rules, "rules.yaml"), source, state, folder, clock, targets)
        await life.evaluating.open()
        yield life


def loaded(text: str, step: str = "15s") -> ScriptSource:
    """Return a source with series as promtool writes them, from the test's beginning on."""
    source = ScriptSource()
    source.load(f"load {step}\n" + "\n".join(f"  {line}" for line in text.splitlines()), start=milliseconds(BEGAN))
    return source
