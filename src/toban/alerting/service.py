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
from toban.alerting.alert_store import Ledger
from toban.alerting.evaluation import Engine
from toban.alerting.rule_file import AlertRule, Group, RecordingRule
from toban.alerting.rule_state import Bench, Health, Seat, Seen
from toban.alerting.states import Finding, Standings, Step, ended, step
from toban.alerting.templating.template import NOWHERE, External
from toban.core.alerts import Acknowledgement, Change, Status
from toban.core.errors import QueryError, StateError, StoreError
from toban.core.input_limits import repaired
from toban.core.labels import Labels
from toban.core.metric_registry import Meters
from toban.core.periodic import beat
from toban.core.plugin_isolation import Fence
from toban.core.ports import Clock, Condition, SampleSink
from toban.core.samples import Batch, counter, gauge, milliseconds
from toban.promql.data_presence import Presence
from toban.promql.query_batch import Reply
from toban.state.database import State

log = structlog.get_logger("toban.alerting")

EVALUATIONS: Final = counter("toban_rule_evaluations_total", "Times that a group of rules was judged.")
FAILURES: Final = counter("toban_rule_failures_total", "Times that a rule could not be judged.")
SECONDS: Final = gauge("toban_rule_group_seconds", "How long the last judgement of a group took.", "seconds")

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


class Evaluating:
    """
    Judges all rules, and keeps what stands in the ledger.

    Trouble with the numbers or with state costs a rule its turn, never its alerts: what fires goes on firing while
    nobody knows better. Rules that can't be judged, and parts of toban that are unwell, become alerts themselves.
    """

    name = "alerting"

    def __init__(
        self,
        groups: Sequence[Group],
        every: timedelta,
        ledger: Ledger,
        engine: Engine,
        sink: SampleSink,
        state: State,
        clock: Clock,
        meters: Meters,
        *,
        conditions: Callable[[], Iterable[tuple[str, Condition]]] = tuple,
        outside: Engine | None = None,
        first_look: Callable[[], Awaitable[None]] | None = None,
        targets: Iterable[str] = (),
        external: External = NOWHERE,
        last_error: Callable[[Labels], str] = lambda labels: "",
    ) -> None:
        self.benches = [Bench(group, every) for group in groups]
        self.ledger = ledger
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
        self._own = recorded_series.alerts()
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
            for bench in self.benches:
                tasks.create_task(self._beat(f"rules {bench.group.name}", bench.every, partial(self.judge, bench)))
            tasks.create_task(self._beat("rules of its own", OWN_EVERY, self.judge_itself))

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
        fence = Fence("alerting", name, self._meters)

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

        await beat(name, every, fenced, clock=self._clock, meters=self._meters)

    async def open(self, before: "Evaluating | None" = None) -> None:
        """
        Take up where the last run ended, or the evaluation ``before`` in this one; what belongs to rules that are gone
        ends.
        """
        if before:
            await self._follow(before)
        else:
            await self.ledger.open()
            await self._take_up()
        keys = {seat.key for bench in self.benches for seat in bench.seats}
        for rule in self.ledger.rules():
            if rule not in keys and rule not in self_monitoring.KEYS and not rule.startswith(OUTSIDE):
                await self.ledger.put(
                    rule, ended(self.ledger.of(rule), self._clock.now(), "its rule was removed or renamed")
                )

    async def _follow(self, before: "Evaluating") -> None:
        """Go on with what another evaluation knows: groups that are the same, and the series that it wrote."""
        self._started, self._seen, self._gone = before._started, before._seen, before._gone  # noqa: SLF001  # its like
        self._own, self._own_at = before._own, before._own_at  # noqa: SLF001  # its like
        there = {(bench.group.file, bench.group.name): bench for bench in before.benches}
        self.benches = [bench.after(there.pop((bench.group.file, bench.group.name), None)) for bench in self.benches]
        written = {id(series) for bench in self.benches for series in bench.writers()}
        at = milliseconds(self._clock.now())
        for bench in before.benches:
            for series in bench.writers():
                if id(series) not in written:
                    await self._append(series.batches({}, at))

    async def _take_up(self) -> None:
        def work(connection: Connection) -> tuple[dict[str, datetime], set[str]]:
            return repository.seen(connection), repository.watch(connection, self._targets)

        try:
            self._seen, self._gone = await self._state.transaction(work)
        except StateError:
            log.info("judging begins without what was remembered")

    async def explained(self, name: str) -> list[dict[str, Any]]:
        """Return what there is to know of the rules of a name."""
        at = milliseconds(self._clock.now())
        return [
            await explanation.explained(seat, bench, self._outside if bench.group.outside else self._engine, at)
            for bench in self.benches
            for seat in bench.seats
            if seat.rule.name == name
        ]

    async def judge(self, bench: Bench) -> None:
        """Judge a group's rules once, one after the other, all at the same time of day."""
        now, began = self._clock.now(), self._clock.monotonic()
        engine, at = self._outside if bench.group.outside else self._engine, milliseconds(now)
        for seats in bench.runs():
            while seats:
                replies = await engine.replies([seat.rule.query.text for seat in seats], at)
                for seat, reply in zip(seats, replies, strict=False):
                    await self._see(seat, bench, reply, engine, now)
                seats = seats[len(replies) :]
        standings = [it for seat in bench.seats if seat.key for it in self.ledger.of(seat.key).values()]
        await self._append(bench.series.batches(recorded_series.told(standings), milliseconds(now)))
        bench.at, bench.seconds = now, self._clock.monotonic() - began
        self._meters.add(EVALUATIONS, group=bench.group.name)
        self._meters.set(SECONDS, bench.seconds, group=bench.group.name)

    async def _see(self, seat: Seat, bench: Bench, reply: Reply, engine: Engine, now: datetime) -> None:
        start = self._clock.monotonic()
        try:
            health, error = await self._judged(seat, bench, reply, engine, now), ""
        except (QueryError, StoreError) as caught:
            health, error = Health.FAILED, str(caught)
            self._meters.add(FAILURES, group=bench.group.name)
        except Exception as caught:
            health, error = Health.FAILED, repaired(f"{type(caught).__name__}: {caught}")
            self._meters.add(FAILURES, group=bench.group.name)
            log.exception("a rule can't be judged", rule=seat.rule.name)
        if error and error != seat.seen.error:
            log.warning("a rule can't be judged", rule=seat.rule.name, error=error)
        seat.seen = Seen(health, error, now, reply.seconds + self._clock.monotonic() - start)

    async def _judged(self, seat: Seat, bench: Bench, reply: Reply, engine: Engine, now: datetime) -> Health:
        at = milliseconds(now)
        if isinstance(seat.rule, RecordingRule):
            values = evaluation.recorded(seat.rule, reply, bench.group.limit)
            if seat.series:
                await self._append(seat.series.batches(values, at))
            return Health.OK
        found = await evaluation.findings(seat.rule, reply, engine, at, bench.group.limit, self._external)
        if seat.rule.is_about_targets:
            found = {labels: self._explained(labels, finding) for labels, finding in found.items()}
        health = Health.OK if found else await self._health(seat.rule, reply.presence, now)
        before = self.ledger.of(seat.key)
        if found and seat.key not in self._seen:
            await self._note_seen(seat.key, now)
        if health is Health.NO_DATA:
            return health
        if health is Health.ASLEEP and before:
            # Nobody will judge it: what it looked at has left the configuration.
            await self.ledger.put(seat.key, ended(before, now, "what it looked at is no longer watched"))
        else:
            await self.ledger.put(seat.key, step(before, found, now, seat.rule.hold, seat.rule.keep))
        return health

    def _explained(self, labels: Labels, finding: Finding) -> Finding:
        """Add what the last collection of an alert's target failed with."""
        error = self._last_error(labels)
        return replace(finding, annotations={**finding.annotations, "error": error}) if error else finding

    async def _health(self, rule: AlertRule, there: Presence, now: datetime) -> Health:
        """Tell what an empty answer means."""
        settling = now - self._started < SETTLING
        if there is Presence.PRESENT:
            if rule.key not in self._seen:
                await self._note_seen(rule.key, now)
            return Health.OK
        if there is Presence.QUIET:
            # A counter that isn't there has counted nothing; but just after a start it may not be there yet.
            fires = any(it.alert.status is Status.FIRING for it in self.ledger.of(rule.key).values())
            return Health.NO_DATA if settling and fires else Health.OK
        if rule.key not in self._seen:
            return Health.ASLEEP
        if settling and self._gone:
            await self._note_seen(rule.key, None)
            return Health.ASLEEP
        return Health.NO_DATA

    async def _note_seen(self, key: str, at: datetime | None) -> None:
        if at:
            self._seen[key] = at
        else:
            self._seen.pop(key, None)
        try:
            await self._state.transaction(partial(repository.note_seen, rule=key, at=at))
        except StateError as error:
            log.info("not remembered", rule=key, error=str(error))

    async def judge_itself(self) -> None:
        """Judge toban itself, from memory: no number is asked for."""
        now = self._clock.now()
        for key, found in self_monitoring.findings(self.benches, self._conditions(), now).items():
            await self.ledger.put(key, step(self.ledger.of(key), found, now, self_monitoring.HOLD, timedelta()))
        await self.ledger.catch_up()
        standings = [standing for key in self_monitoring.KEYS for standing in self.ledger.of(key).values()]
        await self._append(self._own.batches(recorded_series.told(standings), milliseconds(now)))
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

    async def take_back(self, fingerprint: str) -> int:
        """Take an acknowledgement back; return how many alerts that were."""
        return await self._said(fingerprint, None)

    async def _said(self, fingerprint: str, said: Acknowledgement | None) -> int:
        many = 0
        for rule, standing in list(self.ledger.all()):
            alert = standing.alert
            if alert.fingerprint != fingerprint or alert.status is not Status.FIRING:
                continue
            many += 1
            changed = replace(alert, acknowledged=said)
            why = f"acknowledged by {said.by}" if said else "no longer acknowledged"
            after: Standings = {**self.ledger.of(rule), alert.labels: replace(standing, alert=changed)}
            await self.ledger.put(rule, Step(after, (Change(changed, self._clock.now(), why),)))
        return many

    def health(self) -> Condition:
        """Say whether rules are still judged; what they find is another question."""
        now = self._clock.now()
        late = [bench.group.name for bench in self.benches if bench.late(now)]
        if late:
            return Condition(False, f"rules not judged for three intervals: {', '.join(late)}")
        kept = self.ledger.health()
        if not kept.ok:
            return kept
        return Condition(True, f"{sum(len(bench.seats) for bench in self.benches)} rules judge")

    @property
    def judging(self) -> bool:
        """Whether all rules were judged in time: what the heartbeat asks."""
        now = self._clock.now()
        return self._own_at is not None and not any(bench.late(now) or bench.at is None for bench in self.benches)
