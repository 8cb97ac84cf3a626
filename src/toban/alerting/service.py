"""The evaluation service: evaluates each rule group at its interval."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import structlog
from sqlalchemy import Connection

from toban.alerting import evaluation, explanation, recorded_series, repository, self_monitoring
from toban.alerting.alert_store import AlertStore
from toban.alerting.explanation import RuleExplanation
from toban.alerting.report import EvaluationReport, GroupReport, RuleReport
from toban.alerting.rule_engines import RuleEngineName, RuleEnginePair
from toban.alerting.rule_file import AlertRule, RecordingRule, RuleGroup
from toban.alerting.rule_state import (
    STARTUP_PERIOD,
    GroupState,
    LastEvaluation,
    RuleHealth,
    RuleState,
    health_without_result,
)
from toban.alerting.states import EXTERNAL_KEY, RuleResult, resolve_all, step
from toban.alerting.templating.template import NO_EXTERNAL, External
from toban.core.alerts import Alert, AlertStatus
from toban.core.errors import QueryError, StateError, StoreError
from toban.core.input_limits import repair_surrogates
from toban.core.labels import Labels
from toban.core.metric_registry import MetricRegistry
from toban.core.periodic import run_periodically
from toban.core.plugin_isolation import PluginIsolation
from toban.core.ports import Clock, HealthStatus, RuleEngine, SampleSink
from toban.core.query_result import BatchResult, DataPresence
from toban.core.samples import Batch, counter, gauge, milliseconds
from toban.state.database import State

log = structlog.get_logger("toban.alerting")

EVALUATIONS: Final = counter("toban_rule_evaluations_total", "Evaluations of a rule group.", labels=("group",))
FAILURES: Final = counter("toban_rule_failures_total", "Failed evaluations of a rule.", labels=("group",))
SECONDS: Final = gauge(
    "toban_rule_group_duration_seconds", "Duration of a rule group's last evaluation.", "seconds", labels=("group",)
)

SELF_INTERVAL: Final = timedelta(seconds=15)
"""The interval at which toban evaluates itself."""


FINISH_TIMEOUT: Final = 5
"""Seconds that running evaluations may take to finish before they are cancelled."""

FIRST_COLLECTION_TIMEOUT: Final = 60
"""Seconds for which the first evaluation waits for the first collection of slow targets."""


@dataclass(frozen=True, slots=True)
class CollectedTargets:
    """
    What evaluation asks of collection: the names of the targets, and why one could not be read.

    The first evaluation waits for ``first_collection``.
    """

    names: Sequence[str] = ()
    first_collection: Callable[[], Awaitable[None]] | None = None
    last_error: Callable[[Labels], str] = lambda labels: ""


NO_TARGETS: Final = CollectedTargets()


class EvaluationService:
    """
    Evaluates all rules, and keeps their alerts in the alert store.

    An error of the sample store or of state costs a rule one evaluation, never its alerts: a firing alert keeps firing
    while there is no result. Rules that can't be evaluated and unhealthy components of toban become alerts themselves.
    """

    name = "alerting"

    def __init__(
        self,
        groups: Sequence[RuleGroup],
        every: timedelta,
        ledger: AlertStore,
        engines: Mapping[RuleEngineName, RuleEnginePair],
        sink: SampleSink,
        state: State,
        clock: Clock,
        meters: MetricRegistry,
        *,
        health: Callable[[], Iterable[tuple[str, HealthStatus]]] = tuple,
        targets: CollectedTargets = NO_TARGETS,
        external: External = NO_EXTERNAL,
    ) -> None:
        self.groups = [GroupState(group, every) for group in groups]
        self.store = ledger
        self._engines = engines
        self._sink = sink
        self._state = state
        self._clock = clock
        self._meters = meters
        self._health_of_services = health
        self._targets = targets
        self._external = external
        self._with_data: dict[str, datetime] = {}
        self._removed_targets: set[str] = set()
        self._started = clock.now()
        self._self_series = recorded_series.alerts_writer()
        self._self_evaluated: datetime | None = None
        self._finishing = False
        self._running: set[asyncio.Future[None]] = set()

    async def run(self) -> None:
        """Evaluate until cancelled; it was opened before."""
        if self._targets.first_collection:
            try:
                async with asyncio.timeout(FIRST_COLLECTION_TIMEOUT):
                    await self._targets.first_collection()
            except TimeoutError:
                log.info("evaluation starts before the first collection of every target")
        async with asyncio.TaskGroup() as tasks:
            for group in self.groups:
                tasks.create_task(
                    self._run_job(f"rules {group.group.name}", group.interval, partial(self.evaluate, group))
                )
            tasks.create_task(self._run_job("rules of toban", SELF_INTERVAL, self.evaluate_self))

    async def finish(self) -> None:
        """Start no further evaluation, and wait until the running ones have finished."""
        self._finishing = True
        try:
            async with asyncio.timeout(FINISH_TIMEOUT):
                while self._running:
                    await asyncio.wait(self._running)
        except TimeoutError:
            log.warning("running evaluations cancelled")

    async def _run_job(self, name: str, interval: timedelta, job: Callable[[], Awaitable[None]]) -> None:
        isolation = PluginIsolation("alerting", name, self._meters)

        async def isolated() -> None:
            # An unexpected error costs one evaluation of one group.
            if self._finishing:
                return
            done = asyncio.get_running_loop().create_future()
            self._running.add(done)
            try:
                with isolation:
                    await job()
            finally:
                self._running.discard(done)
                done.cancel()

        await run_periodically(name, interval, isolated, clock=self._clock, meters=self._meters)

    async def open(self, before: "EvaluationService | None" = None) -> None:
        """Continue the last run, or the evaluation ``before`` in this run; alerts of removed rules resolve."""
        if before:
            await self._continue_from(before)
        else:
            await self.store.open()
            await self._restore()
        keys = {rule.key for group in self.groups for rule in group.rules}
        for rule in self.store.rules():
            if rule not in keys and rule not in self_monitoring.KEYS and not rule.startswith(EXTERNAL_KEY):
                await self.store.apply(
                    rule, resolve_all(self.store.of(rule), self._clock.now(), "its rule was removed or renamed")
                )

    async def _continue_from(self, before: "EvaluationService") -> None:
        """Take over the state of another evaluation: its unchanged groups, and the series that it wrote."""
        self._started, self._with_data = before._started, before._with_data  # noqa: SLF001  # of this class
        self._removed_targets, self._self_series = before._removed_targets, before._self_series  # noqa: SLF001  # of this class
        self._self_evaluated = before._self_evaluated  # noqa: SLF001  # of this class
        old = {(group.group.file, group.group.name): group for group in before.groups}
        self.groups = [group.carry_over(old.pop((group.group.file, group.group.name), None)) for group in self.groups]
        kept = {id(series) for group in self.groups for series in group.series_writers()}
        at = milliseconds(self._clock.now())
        for group in before.groups:
            for series in group.series_writers():
                if id(series) not in kept:
                    await self._append(series.batches({}, at))

    async def _restore(self) -> None:
        def work(connection: Connection) -> tuple[dict[str, datetime], set[str]]:
            return repository.rules_with_data(connection), repository.replace_targets(
                connection, sorted(set(self._targets.names))
            )

        try:
            self._with_data, self._removed_targets = await self._state.transaction(work)
        except StateError:
            log.info("started without saved alert state")

    def report(self) -> EvaluationReport:
        """Return the rules and alerts as they are now."""
        groups = [
            GroupReport(
                it.group,
                it.interval,
                it.at,
                it.seconds,
                [RuleReport(rule.rule, rule.last, self._alerts_of(rule)) for rule in it.rules],
            )
            for it in self.groups
        ]
        return EvaluationReport(groups, self.store.alerts())

    def metrics_of(self, name: str) -> list[str]:
        """Return the metrics, or selectors of log lines, that the rules of a name read."""
        rules = (rule.rule for group in self.groups for rule in group.rules)
        return [metric for rule in rules if rule.name == name for metric in rule.query.reads()]

    def _alerts_of(self, rule: RuleState) -> list[Alert]:
        return [it.alert for it in self.store.of(rule.key).values()] if rule.key else []

    async def explain(self, name: str) -> list[RuleExplanation]:
        """Explain the rules of a name."""
        at = milliseconds(self._clock.now())
        return [
            await explanation.explain_rule(rule, group, self._engines[group.group.engine].pages, at)
            for group in self.groups
            for rule in group.rules
            if rule.rule.name == name
        ]

    async def evaluate(self, group: GroupState) -> None:
        """Evaluate the rules of a group once, one after the other, all at the same timestamp."""
        now, began = self._clock.now(), self._clock.monotonic()
        engine, at = self._engines[group.group.engine].rules, milliseconds(now)
        for rules in group.batches():
            while rules:
                results = await engine.run_batch([rule.rule.query.text for rule in rules], at)
                for rule, result in zip(rules, results, strict=False):
                    await self._evaluate_rule(rule, group, result, engine, now)
                rules = rules[len(results) :]
        active = [it for rule in group.rules if rule.key for it in self.store.of(rule.key).values()]
        await self._append(group.series.batches(recorded_series.alert_samples(active), milliseconds(now)))
        group.at, group.seconds = now, self._clock.monotonic() - began
        self._meters.add(EVALUATIONS, group=group.group.name)
        self._meters.set(SECONDS, group.seconds, group=group.group.name)

    async def _evaluate_rule(
        self, rule: RuleState, group: GroupState, queried: BatchResult, engine: RuleEngine, now: datetime
    ) -> None:
        start = self._clock.monotonic()
        try:
            health, error = await self._apply_result(rule, group, queried, engine, now), ""
        except (QueryError, StoreError) as caught:
            health, error = RuleHealth.FAILED, str(caught)
            self._meters.add(FAILURES, group=group.group.name)
        except Exception as caught:
            health, error = RuleHealth.FAILED, repair_surrogates(f"{type(caught).__name__}: {caught}")
            self._meters.add(FAILURES, group=group.group.name)
            log.exception("rule evaluation failed", rule=rule.rule.name)
        if error and error != rule.last.error:
            log.warning("rule evaluation failed", rule=rule.rule.name, error=error)
        rule.last = LastEvaluation(health, error, now, queried.seconds + self._clock.monotonic() - start)

    async def _apply_result(
        self, rule: RuleState, group: GroupState, queried: BatchResult, engine: RuleEngine, now: datetime
    ) -> RuleHealth:
        at = milliseconds(now)
        if isinstance(rule.rule, RecordingRule):
            values = evaluation.evaluate_recording_rule(rule.rule, queried, group.group.limit)
            if rule.series:
                await self._append(rule.series.batches(values, at))
            return RuleHealth.OK
        results = await evaluation.evaluate_alert_rule(
            rule.rule, queried, engine, at, group.group.limit, self._external
        )
        if rule.rule.is_about_targets:
            results = {labels: self._with_error(labels, result) for labels, result in results.items()}
        health = RuleHealth.OK if results else await self._health(rule.rule, queried.presence, now)
        before = self.store.of(rule.key)
        if results and rule.key not in self._with_data:
            await self._record_data(rule.key, now)
        if health is RuleHealth.NO_DATA:
            return health
        if health is RuleHealth.INACTIVE and before:
            # It has no data any more: its target was removed from the configuration.
            await self.store.apply(rule.key, resolve_all(before, now, "its target is no longer monitored"))
        else:
            await self.store.apply(rule.key, step(before, results, now, rule.rule.for_, rule.rule.keep_firing_for))
        return health

    def _with_error(self, labels: Labels, result: RuleResult) -> RuleResult:
        """Add the error of the last collection of an alert's target."""
        error = self._targets.last_error(labels)
        return replace(result, annotations={**result.annotations, "error": error}) if error else result

    async def _health(self, rule: AlertRule, presence: DataPresence, now: datetime) -> RuleHealth:
        """Return the health of a rule whose result is empty."""
        is_startup = now - self._started < STARTUP_PERIOD
        health = health_without_result(
            presence,
            had_data=rule.key in self._with_data,
            is_startup=is_startup,
            is_firing=any(it.alert.status is AlertStatus.FIRING for it in self.store.of(rule.key).values()),
        )
        if presence is DataPresence.PRESENT and rule.key not in self._with_data:
            await self._record_data(rule.key, now)
        if presence is DataPresence.MISSING and health is RuleHealth.NO_DATA and is_startup and self._removed_targets:
            await self._record_data(rule.key, None)
            return RuleHealth.INACTIVE
        return health

    async def _record_data(self, key: str, at: datetime | None) -> None:
        if at:
            self._with_data[key] = at
        else:
            self._with_data.pop(key, None)
        try:
            await self._state.transaction(partial(repository.record_rule_with_data, rule=key, at=at))
        except StateError as error:
            log.info("rule state not stored", rule=key, error=str(error))

    async def evaluate_self(self) -> None:
        """Evaluate toban itself, from memory: without a query."""
        now = self._clock.now()
        for key, found in self_monitoring.self_alerts(self.groups, self._health_of_services(), now).items():
            await self.store.apply(
                key, step(self.store.of(key), found, now, self_monitoring.PENDING_PERIOD, timedelta())
            )
        await self.store.catch_up()
        active = [alert for key in self_monitoring.KEYS for alert in self.store.of(key).values()]
        await self._append(self._self_series.batches(recorded_series.alert_samples(active), milliseconds(now)))
        self._self_evaluated = now

    async def _append(self, batches: Sequence[Batch]) -> None:
        if not batches:
            return
        try:
            await self._sink.append(batches)
        except StoreError as error:
            # The sample store reports it; alerts are in the alert store, these series only show them.
            log.debug("append not durable yet", error=str(error))

    def health(self) -> HealthStatus:
        """Return whether rules are evaluated in time, whatever their results."""
        now = self._clock.now()
        late = [group.group.name for group in self.groups if group.is_late(now)]
        if late:
            return HealthStatus(False, f"rules not evaluated for three intervals: {', '.join(late)}")
        stored = self.store.health()
        if not stored.ok:
            return stored
        return HealthStatus(True, f"{sum(len(group.rules) for group in self.groups)} rules loaded")

    @property
    def is_on_time(self) -> bool:
        """Whether all rules were evaluated in time, for the heartbeat."""
        now = self._clock.now()
        return self._self_evaluated is not None and not any(
            group.is_late(now) or group.at is None for group in self.groups
        )
