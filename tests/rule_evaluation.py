"""Evaluation of rules in virtual time: no event loop timers, no sleeping."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType

from tests.fakes import FakeClock, ListSink
from tests.promql_scripts import ScriptSource
from toban.alerting.alert_store import AlertStore
from toban.alerting.rule_engines import RuleEngineName, RuleEnginePair
from toban.alerting.rule_file import RuleGroup, parse_rule_file
from toban.alerting.service import CollectedTargets, EvaluationService
from toban.core.alerts import TOPIC, AlertChange
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import HealthStatus
from toban.core.query_result import BatchResult
from toban.core.samples import milliseconds
from toban.promql.engine import PromqlEngine
from toban.promql.query_batch import run_batch
from toban.settings import QUERY_PARSERS
from toban.state import event_log
from toban.state.backends import SqliteBackend
from toban.state.database import State

DOWN_RULE = """
groups:
- name: shop
  rules:
  - alert: down
    expr: up == 0
    for: 1m
    labels: {severity: critical}
    annotations: {summary: "{{ $labels.job }} is down"}
"""
"""One rule: a target is down for a minute."""


class ImmediateEngine:
    """An engine that evaluates immediately, in the same thread; it raises ``error`` if there is one."""

    def __init__(self, source: ScriptSource) -> None:
        self.engine = PromqlEngine(source)
        self.error: Exception | None = None

    async def instant(self, query, at, *, time_limit=None):
        if self.error:
            raise self.error
        return self.engine.instant(query, at)

    async def run_batch(self, queries: Sequence[str], at: int) -> list[BatchResult]:
        return [BatchResult(self.error)] if self.error else run_batch(self.engine, queries, at)


class RuleEvaluation:
    """
    The evaluation service of one process, over a source, a folder and a clock that outlive it.

    ``sent_without_state`` has the changes that were sent while state was unavailable.
    """

    def __init__(
        self,
        groups: Sequence[RuleGroup],
        source: ScriptSource,
        state: State,
        folder: Path,
        clock: FakeClock,
        targets: Iterable[str] = (),
        engines: Mapping[RuleEngineName, RuleEnginePair] = MappingProxyType({}),
    ):
        """``engines`` are those besides the embedded one."""
        self.engine = ImmediateEngine(source)
        self.sink = ListSink()
        self.sent_without_state: list[AlertChange] = []
        self.health_statuses: list[tuple[str, HealthStatus]] = []
        self.errors: dict[str, str] = {}
        """The error of the last collection of each job."""
        self.clock = clock
        self.state = state

        async def urgent(changes: Sequence[AlertChange]) -> None:
            self.sent_without_state.extend(changes)

        self.alert_store = AlertStore(state, folder, lambda: None, urgent)
        self.evaluation = EvaluationService(
            groups,
            timedelta(seconds=15),
            self.alert_store,
            {RuleEngineName.EMBEDDED: RuleEnginePair(self.engine, self.engine), **engines},
            self.sink,
            state,
            clock,
            MetricRegistry(),
            health=lambda: self.health_statuses,
            targets=CollectedTargets(targets, last_error=lambda labels: self.errors.get(labels.get("job", ""), "")),
        )

    async def until(self, seconds: float, interval: float = 15) -> None:
        """Evaluate at an interval until so many seconds after the start of the test."""
        end = START + timedelta(seconds=seconds)
        while self.clock.now() < end:
            for group in self.evaluation.groups:
                await self.evaluation.evaluate(group)
            await self.evaluation.evaluate_self()
            self.clock.advance(interval)

    async def transitions(self) -> list[tuple[str, str]]:
        """Return the status and the name of each change in the event log."""
        changes = await self.state.transaction(lambda connection: _alert_changes(connection))
        return [(change.alert.status.value, change.alert.name) for change in changes]

    async def changes(self) -> list[AlertChange]:
        """Return each change in the event log."""
        return await self.state.transaction(lambda connection: _alert_changes(connection))


START = FakeClock().now()


def _alert_changes(connection) -> list[AlertChange]:
    rows = connection.execute(
        event_log.select(event_log.EVENTS)
        .where(event_log.EVENTS.c.topic == TOPIC)
        .order_by(event_log.EVENTS.c.position)
    )
    return [AlertChange.from_dict(row.body) for row in rows]


@asynccontextmanager
async def rule_evaluation(
    rules: str,
    source: ScriptSource,
    folder: Path,
    clock: FakeClock,
    targets: Iterable[str] = (),
    engines: Mapping[RuleEngineName, RuleEnginePair] = MappingProxyType({}),
) -> AsyncIterator[RuleEvaluation]:
    """Start a process: it opens the state in the folder."""
    async with State(SqliteBackend(folder / "toban.db"), clock, MetricRegistry()) as state:
        groups = parse_rule_file(rules, "rules.yaml", QUERY_PARSERS)
        process = RuleEvaluation(groups, source, state, folder, clock, targets, engines)
        await process.evaluation.open()
        yield process


def load_series(text: str, step: str = "15s") -> ScriptSource:
    """Return a source with series in promtool's notation, from the start of the test."""
    source = ScriptSource()
    source.load(f"load {step}\n" + "\n".join(f"  {line}" for line in text.splitlines()), start=milliseconds(START))
    return source
