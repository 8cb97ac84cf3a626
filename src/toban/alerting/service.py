"""Judges the numbers, each group of rules on its own beat."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

import structlog
from sqlalchemy import Connection

from toban.alerting import evaluation, explanation, recorded_series, repository, self_monitoring
from toban.alerting.alert_store import AlertStore
from toban.alerting.evaluation import RuleQueryEngine
from toban.alerting.rule_file import AlertRule, RecordingRule, RuleGroup
from toban.alerting.rule_state import GroupState, LastEvaluation, RuleHealth, RuleState
from toban.alerting.states import ActiveAlerts, RuleResult, Step, end_all, step
from toban.alerting.templating.template import NOWHERE, External
from toban.core.alerts import Acknowledgement, AlertChange, AlertStatus
from toban.core.errors import QueryError, StateError, StoreError
from toban.core.input_limits import repair_surrogates
from toban.core.labels import Labels
from toban.core.metric_registry import MetricRegistry
from toban.core.periodic import run_periodically
from toban.core.plugin_isolation import PluginIsolation
from toban.core.ports import Clock, HealthStatus, SampleSink
from toban.core.samples import Batch, counter, gauge, milliseconds
from toban.promql.data_presence import DataPresence
from toban.promql.query_batch import BatchResult
from toban.state.database import State

log = structlog.get_logger("toban.alerting")

EVALUATIONS: Final = counter("toban_rule_evaluations_total", "Times that a group of rules was judged.")
FAILURES: Final = counter("toban_rule_failures_total", "Times that a rule could not be judged.")
SECONDS: Final = gauge("toban_rule_group_duration_seconds", "How long the last judgement of a group took.", "seconds")

SETTLING: Final = timedelta(minutes=10)
"""How long after a start what is missing may be missing because toban was away."""

OWN_EVERY: Final = timedelta(seconds=15)
"""How often toban judges itself."""

OUTSIDE: Final = "outside:"
"""How the keys of alerts begin that others judged and sent here."""

FINISHING: Final = 5
"""Seconds that a judgement may take to come to its end before it is broken off."""

FIRST_LOOK: Final = 60
"""Seconds: how long the first judgement waits for the first look at targets that are slow to answer."""


class EvaluationService:
    """
    Judges all rules, and keeps what stands in the ledger.

    Trouble with the numbers or with state costs a rule its turn, never its alerts: what fires goes on firing while
    nobody knows better. Rules that can't be judged, and parts of toban that are unwell, become alerts themselves.
    """

    name = "alerting"

    def __init__(
        self,
        groups: Sequence[RuleGroup],
        every: timedelta,
        ledger: AlertStore,
        engine: RuleQueryEngine,
        sink: SampleSink,
        state: State,
        clock: Clock,
        meters: MetricRegistry,
        *,
        conditions: Callable[[], Iterable[tuple[str, HealthStatus]]] = tuple,
        outside: RuleQueryEngine | None = None,
        first_look: Callable[[], Awaitable[None]] | None = None,
        targets: Iterable[str] = (),
        external: External = NOWHERE,
        last_error: Callable[[Labels], str] = lambda labels: "",
    ) -> None:
        self.groups = [GroupState(group, every) for group in groups]
        self.store = ledger
        self._engine = engine
        self._outside = outside or engine
        self._sink = sink
        self._state = state
        self._clock = clock
        self._meters = meters
        self._conditions = conditions
        self._first_look = first_look
        self._targets = sorted(set(targets))
        self._external = external
        self._last_error = last_error
        self._seen: dict[str, datetime] = {}
        self._gone: set[str] = set()
        self._started = clock.now()
        self._own = recorded_series.alerts_writer()
        self._own_at: datetime | None = None
        self._finishing = False
        self._busy: set[asyncio.Future[None]] = set()

    async def run(self) -> None:
        """Judge until cancelled; it was opened before."""
        if self._first_look:
            try:
                async with asyncio.timeout(FIRST_LOOK):
                    await self._first_look()
            except TimeoutError:
                log.info("judging begins before every target has answered")
        async with asyncio.TaskGroup() as tasks:
            for bench in self.groups:
                tasks.create_task(
                    self._beat(f"rules {bench.group.name}", bench.interval, partial(self.evaluate, bench))
                )
            tasks.create_task(self._beat("rules of its own", OWN_EVERY, self.evaluate_self))

    async def finish(self) -> None:
        """Begin nothing more, and wait until what is being judged has come to its end."""
        self._finishing = True
        try:
            async with asyncio.timeout(FINISHING):
                while self._busy:
                    await asyncio.wait(self._busy)
        except TimeoutError:
            log.warning("what is being judged is broken off")

    async def _beat(self, name: str, every: timedelta, job: Callable[[], Awaitable[None]]) -> None:
        fence = PluginIsolation("alerting", name, self._meters)

        async def fenced() -> None:
            # A surprise costs a group one turn, and no other group any.
            if self._finishing:
                return
            turn = asyncio.get_running_loop().create_future()
            self._busy.add(turn)
            try:
                with fence:
                    await job()
            finally:
                self._busy.discard(turn)
                turn.cancel()

        await run_periodically(name, every, fenced, clock=self._clock, meters=self._meters)

    async def open(self, before: "EvaluationService | None" = None) -> None:
        """
        Take up where the last run ended, or the evaluation ``before`` in this one; what belongs to rules that are gone
        ends.
        """
        if before:
            await self._follow(before)
        else:
            await self.store.open()
            await self._take_up()
        keys = {seat.key for bench in self.groups for seat in bench.rules}
        for rule in self.store.rules():
            if rule not in keys and rule not in self_monitoring.KEYS and not rule.startswith(OUTSIDE):
                await self.store.apply(
                    rule, end_all(self.store.of(rule), self._clock.now(), "its rule was removed or renamed")
                )

    async def _follow(self, before: "EvaluationService") -> None:
        """Go on with what another evaluation knows: groups that are the same, and the series that it wrote."""
        self._started, self._seen, self._gone = before._started, before._seen, before._gone  # noqa: SLF001  # its like
        self._own, self._own_at = before._own, before._own_at  # noqa: SLF001  # its like
        there = {(bench.group.file, bench.group.name): bench for bench in before.groups}
        self.groups = [bench.carry_over(there.pop((bench.group.file, bench.group.name), None)) for bench in self.groups]
        written = {id(series) for bench in self.groups for series in bench.series_writers()}
        at = milliseconds(self._clock.now())
        for bench in before.groups:
            for series in bench.series_writers():
                if id(series) not in written:
                    await self._append(series.batches({}, at))

    async def _take_up(self) -> None:
        def work(connection: Connection) -> tuple[dict[str, datetime], set[str]]:
            return repository.rules_with_data(connection), repository.replace_targets(connection, self._targets)

        try:
            self._seen, self._gone = await self._state.transaction(work)
        except StateError:
            log.info("judging begins without what was remembered")

    async def explain(self, name: str) -> list[dict[str, Any]]:
        """Return what there is to know of the rules of a name."""
        at = milliseconds(self._clock.now())
        return [
            await explanation.explain_rule(seat, bench, self._outside if bench.group.outside else self._engine, at)
            for bench in self.groups
            for seat in bench.rules
            if seat.rule.name == name
        ]

    async def evaluate(self, bench: GroupState) -> None:
        """Judge a group's rules once, one after the other, all at the same time of day."""
        now, began = self._clock.now(), self._clock.monotonic()
        engine, at = self._outside if bench.group.outside else self._engine, milliseconds(now)
        for seats in bench.batches():
            while seats:
                replies = await engine.run_batch([seat.rule.query.text for seat in seats], at)
                for seat, reply in zip(seats, replies, strict=False):
                    await self._see(seat, bench, reply, engine, now)
                seats = seats[len(replies) :]
        standings = [it for seat in bench.rules if seat.key for it in self.store.of(seat.key).values()]
        await self._append(bench.series.batches(recorded_series.alert_samples(standings), milliseconds(now)))
        bench.at, bench.seconds = now, self._clock.monotonic() - began
        self._meters.add(EVALUATIONS, group=bench.group.name)
        self._meters.set(SECONDS, bench.seconds, group=bench.group.name)

    async def _see(
        self, seat: RuleState, bench: GroupState, reply: BatchResult, engine: RuleQueryEngine, now: datetime
    ) -> None:
        start = self._clock.monotonic()
        try:
            health, error = await self._judged(seat, bench, reply, engine, now), ""
        except (QueryError, StoreError) as caught:
            health, error = RuleHealth.FAILED, str(caught)
            self._meters.add(FAILURES, group=bench.group.name)
        except Exception as caught:
            health, error = RuleHealth.FAILED, repair_surrogates(f"{type(caught).__name__}: {caught}")
            self._meters.add(FAILURES, group=bench.group.name)
            log.exception("a rule can't be judged", rule=seat.rule.name)
        if error and error != seat.last.error:
            log.warning("a rule can't be judged", rule=seat.rule.name, error=error)
        seat.last = LastEvaluation(health, error, now, reply.seconds + self._clock.monotonic() - start)

    async def _judged(
        self, seat: RuleState, bench: GroupState, reply: BatchResult, engine: RuleQueryEngine, now: datetime
    ) -> RuleHealth:
        at = milliseconds(now)
        if isinstance(seat.rule, RecordingRule):
            values = evaluation.evaluate_recording_rule(seat.rule, reply, bench.group.limit)
            if seat.series:
                await self._append(seat.series.batches(values, at))
            return RuleHealth.OK
        found = await evaluation.evaluate_alert_rule(seat.rule, reply, engine, at, bench.group.limit, self._external)
        if seat.rule.is_about_targets:
            found = {labels: self._explained(labels, finding) for labels, finding in found.items()}
        health = RuleHealth.OK if found else await self._health(seat.rule, reply.presence, now)
        before = self.store.of(seat.key)
        if found and seat.key not in self._seen:
            await self._note_seen(seat.key, now)
        if health is RuleHealth.NO_DATA:
            return health
        if health is RuleHealth.ASLEEP and before:
            # Nobody will judge it: what it looked at has left the configuration.
            await self.store.apply(seat.key, end_all(before, now, "what it looked at is no longer watched"))
        else:
            await self.store.apply(seat.key, step(before, found, now, seat.rule.for_, seat.rule.keep_firing_for))
        return health

    def _explained(self, labels: Labels, finding: RuleResult) -> RuleResult:
        """Add what the last collection of an alert's target failed with."""
        error = self._last_error(labels)
        return replace(finding, annotations={**finding.annotations, "error": error}) if error else finding

    async def _health(self, rule: AlertRule, there: DataPresence, now: datetime) -> RuleHealth:
        """Tell what an empty answer means."""
        settling = now - self._started < SETTLING
        if there is DataPresence.PRESENT:
            if rule.key not in self._seen:
                await self._note_seen(rule.key, now)
            return RuleHealth.OK
        if there is DataPresence.QUIET:
            # A counter that isn't there has counted nothing; but just after a start it may not be there yet.
            fires = any(it.alert.status is AlertStatus.FIRING for it in self.store.of(rule.key).values())
            return RuleHealth.NO_DATA if settling and fires else RuleHealth.OK
        if rule.key not in self._seen:
            return RuleHealth.ASLEEP
        if settling and self._gone:
            await self._note_seen(rule.key, None)
            return RuleHealth.ASLEEP
        return RuleHealth.NO_DATA

    async def _note_seen(self, key: str, at: datetime | None) -> None:
        if at:
            self._seen[key] = at
        else:
            self._seen.pop(key, None)
        try:
            await self._state.transaction(partial(repository.record_rule_with_data, rule=key, at=at))
        except StateError as error:
            log.info("not remembered", rule=key, error=str(error))

    async def evaluate_self(self) -> None:
        """Judge toban itself, from memory: no number is asked for."""
        now = self._clock.now()
        for key, found in self_monitoring.self_alerts(self.groups, self._conditions(), now).items():
            await self.store.apply(key, step(self.store.of(key), found, now, self_monitoring.HOLD, timedelta()))
        await self.store.catch_up()
        standings = [standing for key in self_monitoring.KEYS for standing in self.store.of(key).values()]
        await self._append(self._own.batches(recorded_series.alert_samples(standings), milliseconds(now)))
        self._own_at = now

    async def _append(self, batches: Sequence[Batch]) -> None:
        if not batches:
            return
        try:
            await self._sink.append(batches)
        except StoreError as error:
            # The store says how it is; alerts stand in the ledger, these series only show them.
            log.debug("not durable yet", error=str(error))

    async def acknowledge(self, fingerprint: str, by: str, comment: str = "") -> int:
        """Note that somebody looks after an alert until it is over; return how many that were."""
        return await self._said(fingerprint, Acknowledgement(by, self._clock.now(), comment))

    async def unacknowledge(self, fingerprint: str) -> int:
        """Take an acknowledgement back; return how many alerts that were."""
        return await self._said(fingerprint, None)

    async def _said(self, fingerprint: str, said: Acknowledgement | None) -> int:
        many = 0
        for rule, standing in list(self.store.all()):
            alert = standing.alert
            if alert.fingerprint != fingerprint or alert.status is not AlertStatus.FIRING:
                continue
            many += 1
            changed = replace(alert, acknowledged=said)
            why = f"acknowledged by {said.by}" if said else "no longer acknowledged"
            after: ActiveAlerts = {**self.store.of(rule), alert.labels: replace(standing, alert=changed)}
            await self.store.apply(rule, Step(after, (AlertChange(changed, self._clock.now(), why),)))
        return many

    def health(self) -> HealthStatus:
        """Say whether rules are still judged; what they find is another question."""
        now = self._clock.now()
        late = [bench.group.name for bench in self.groups if bench.is_late(now)]
        if late:
            return HealthStatus(False, f"rules not judged for three intervals: {', '.join(late)}")
        kept = self.store.health()
        if not kept.ok:
            return kept
        return HealthStatus(True, f"{sum(len(bench.rules) for bench in self.groups)} rules judge")

    @property
    def is_on_time(self) -> bool:
        """Whether all rules were judged in time: what the heartbeat asks."""
        now = self._clock.now()
        return self._own_at is not None and not any(bench.is_late(now) or bench.at is None for bench in self.groups)
