"""
Replays alerting rules over stored samples: what would have fired.

Queries are evaluated as ranges, slice by slice, with the results that single evaluations have; what follows from them
are the decisions of live evaluation (`evaluation`, `states`, `rule_state`). At times at which toban did not run nothing
is evaluated.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from toban.alerting import evaluation
from toban.alerting.observed_time import ObservedTime
from toban.alerting.replay_source import ReplaySource
from toban.alerting.rule_file import AlertRule, RecordingRule
from toban.alerting.rule_state import STARTUP_PERIOD, RuleHealth, health_without_result
from toban.alerting.states import ActiveAlerts, step
from toban.alerting.templating.template import NO_EXTERNAL, External
from toban.core.alerts import AlertStatus
from toban.core.errors import QueryCanceledError, QueryError
from toban.core.labels import NAME, Labels
from toban.core.ports import QueryEngine, RuleEngine
from toban.core.query_result import BatchResult, QueryResult, ResultSeries, ResultType
from toban.core.replay import ReplayedFiring, RuleReplay
from toban.core.samples import milliseconds, moment

SLICE: Final = 2_000
"""How many evaluations of a rule one query covers."""
YIELD_EVERY: Final = 100
"""After how many evaluations of a rule's alerts the event loop may do something else."""
MOST_FIRINGS: Final = 5_000
"""How many firings of a rule are kept."""
MOST_FAILURES: Final = 500
"""After how many failed evaluations in a replay it is given up."""


class ReplayEngine(QueryEngine, RuleEngine, Protocol):
    """Runs the queries of a replay, off the event loop."""


@dataclass(slots=True)
class ReplayedRule:
    """An alerting rule in a replay: its alerts, and what has fired so far."""

    rule: AlertRule
    interval: timedelta
    limit: int = 0
    active: ActiveAlerts = field(default_factory=dict)
    firings: list[ReplayedFiring] = field(default_factory=list)
    evaluations: int = 0
    failed: int = 0
    error: str = ""
    blind: int = 0

    @property
    def has_constant_labels(self) -> bool:
        """Whether its labels do not depend on values."""
        return not any("{{" in it.source for it in self.rule.labels.values())

    @property
    def is_settled(self) -> bool:
        """Whether nothing changes while the series of its result stay the same: nothing is pending or kept firing."""
        return self.has_constant_labels and all(
            it.alert.status is AlertStatus.FIRING and it.unmet_since is None for it in self.active.values()
        )


@dataclass(frozen=True, slots=True)
class ReplayedRecord:
    """A recording rule in a replay."""

    rule: RecordingRule
    interval: timedelta


class Replay:
    """A replay of some rules; recording rules come before what reads them."""

    def __init__(
        self,
        alerts: Sequence[ReplayedRule],
        records: Sequence[ReplayedRecord],
        engine: ReplayEngine,
        source: ReplaySource,
        observed: ObservedTime,
        external: External = NO_EXTERNAL,
    ) -> None:
        self._alerts = alerts
        self._records = records
        self._engine = engine
        self._source = source
        self._observed = observed
        self._external = external

    async def run(
        self, first: datetime, begins: datetime, ends: datetime, progress: Callable[[float], None] = lambda share: None
    ) -> list[RuleReplay]:
        """
        Replay from ``first`` on, and return what fired from ``begins`` until ``ends``.

        Raises ``QueryError`` or ``StoreError`` when queries fail again and again.
        """
        origin, end = milliseconds(first), milliseconds(ends)
        shortest = min([*(it.interval for it in self._alerts), *(it.interval for it in self._records)])
        length = SLICE * (shortest // timedelta(milliseconds=1))
        for start in range(origin, end, length):
            until = min(start + length, end)
            for record in self._records:
                await self._record(record, _steps(start, until, record.interval))
            for it in self._alerts:
                await self._evaluate(it, _steps(start, until, it.interval), milliseconds(begins))
            progress((until - origin) / (end - origin))
        return [_result(it, begins, ends) for it in self._alerts]

    async def _record(self, it: ReplayedRecord, steps: NDArray[np.int64]) -> None:
        rule, ran = it.rule, self._observed.ran(steps)
        found, _, _ = await self._query(rule.query.text, steps[ran], it.interval)
        named = {Labels({**one.labels, **rule.labels, NAME: rule.name}): one for one in found}
        for process, part in self._observed.by_process(steps[ran]):
            self._source.record(
                (f"{rule.name} {rule.labels} {rule.query.text}", process),
                {labels: cut for labels, one in named.items() if len((cut := _cut(one, part)).times)},
                part,
            )

    async def _query(
        self, text: str, steps: NDArray[np.int64], interval: timedelta
    ) -> tuple[list[ResultSeries], NDArray[np.bool_], str]:
        """Return the result of a query at some times, at which of them it failed, and the last error."""
        failed = np.zeros(len(steps), bool)
        if not len(steps):
            return [], failed, ""
        width = interval // timedelta(milliseconds=1)
        # Where toban did not run there is nothing to ask for.
        holes = np.flatnonzero(np.diff(steps) != width) + 1
        parts: dict[Labels, list[ResultSeries]] = {}
        error = ""
        stack = [(int(part[0]), int(part[-1]) + 1) for part in reversed(np.split(np.arange(len(steps)), holes))]
        while stack:
            begin, end = stack.pop()
            try:
                result = await self._engine.range(text, int(steps[begin]), int(steps[end - 1]), width)
            except QueryCanceledError:
                raise
            except QueryError as caught:
                if end - begin > 1:
                    middle = (begin + end) // 2
                    stack += [(middle, end), (begin, middle)]
                    continue
                failed[begin], error = True, str(caught)
                if failed.sum() > MOST_FAILURES:
                    raise
                continue
            for series in result.series:
                parts.setdefault(series.labels, []).append(series)
        return [_joined(labels, found) for labels, found in parts.items()], failed, error

    async def _evaluate(self, it: ReplayedRule, part: NDArray[np.int64], begins: int) -> None:
        ran = self._observed.ran(part)
        steps = part[ran]
        series, failed, error = await self._query(it.rule.query.text, steps, it.interval)
        # What comes before only leads to the state of the rule at the beginning.
        it.evaluations += int((steps >= begins).sum())
        it.blind += int((~ran[part >= begins]).sum())
        it.failed += int(failed.sum())
        it.error = error or it.error
        present = np.zeros((len(series), len(steps)), bool)
        for row, one in enumerate(series):
            present[row, np.searchsorted(steps, one.times)] = True
        changes = np.flatnonzero((present[:, 1:] != present[:, :-1]).any(axis=0)) + 1
        place, done = 0, 0
        while place < len(steps):
            if not failed[place]:
                await self._step(it, series, present[:, place], int(steps[place]))
            done += 1
            if done % YIELD_EVERY == 0:
                await asyncio.sleep(0)
            if not failed[place] and it.is_settled and bool(it.active) == bool(present[:, place].any()):
                # Until another series is there, or one less, every evaluation has the same outcome.
                following = int(np.searchsorted(changes, place, "right"))
                place = int(changes[following]) if following < len(changes) else len(steps)
            else:
                place += 1

    async def _step(
        self, it: ReplayedRule, series: Sequence[ResultSeries], present: NDArray[np.bool_], at: int
    ) -> None:
        """Evaluate a rule once, as live evaluation does."""
        if not present.any() and not it.active:
            return
        now = moment(at)
        there = tuple(_point(series[row], at) for row in np.flatnonzero(present).tolist())
        queried = BatchResult(QueryResult(ResultType.VECTOR, there, at=at))
        if not there:
            (queried,) = await self._engine.run_batch([it.rule.query.text], at)
        try:
            results = await evaluation.evaluate_alert_rule(it.rule, queried, self._engine, at, it.limit, self._external)
        except QueryError as error:
            it.failed, it.error = it.failed + 1, str(error)
            return
        if not results:
            health = health_without_result(
                queried.presence,
                had_data=True,
                is_startup=self._observed.started_within(at, STARTUP_PERIOD),
                is_firing=any(one.alert.status is AlertStatus.FIRING for one in it.active.values()),
            )
            if health is RuleHealth.NO_DATA:
                return
        stepped = step(it.active, results, now, it.rule.for_, it.rule.keep_firing_for)
        for change in stepped.changes:
            _note(it, change.alert.labels, change.alert.starts, change.alert.fired or now, change.alert.ends)
        it.active = {
            labels: one for labels, one in stepped.after.items() if one.alert.status is not AlertStatus.RESOLVED
        }


def _note(it: ReplayedRule, labels: Labels, began: datetime, fired: datetime, ended: datetime | None) -> None:
    """Note that an alert fires, or that it has resolved."""
    if ended is None:
        if len(it.firings) <= MOST_FIRINGS:
            it.firings.append(ReplayedFiring(labels, began, fired))
        return
    for place in range(len(it.firings) - 1, -1, -1):
        if it.firings[place].labels == labels and it.firings[place].ended is None:
            it.firings[place] = replace(it.firings[place], ended=ended)
            return


def _point(series: ResultSeries, at: int) -> ResultSeries:
    place = int(np.searchsorted(series.times, at))
    return ResultSeries(series.labels, series.times[place : place + 1], series.values[place : place + 1])


def _cut(series: ResultSeries, steps: NDArray[np.int64]) -> ResultSeries:
    """Return the part of a series within some times."""
    first, last = np.searchsorted(series.times, [steps[0], steps[-1] + 1])
    return ResultSeries(series.labels, series.times[first:last], series.values[first:last])


def _joined(labels: Labels, parts: Sequence[ResultSeries]) -> ResultSeries:
    if len(parts) == 1:
        return parts[0]
    times, values = (np.concatenate([getattr(it, name) for it in parts]) for name in ("times", "values"))
    return ResultSeries(labels, times, values)


def _steps(start: int, until: int, interval: timedelta) -> NDArray[np.int64]:
    """Return the times of a slice at which a rule is evaluated: multiples of its interval."""
    width = interval // timedelta(milliseconds=1)
    first = -(-start // width) * width
    return np.arange(first, until, width, dtype=np.int64)


def _result(it: ReplayedRule, begins: datetime, ends: datetime) -> RuleReplay:
    within = [one for one in it.firings if one.fired >= begins]
    before = sum(one.fired < begins and (one.ended is None or one.ended > begins) for one in it.firings)
    return RuleReplay(
        it.rule.name,
        begins,
        ends,
        it.interval,
        tuple(islice(within, MOST_FIRINGS)),
        before,
        it.evaluations,
        it.failed,
        it.error,
        it.blind * it.interval,
        len(within) > MOST_FIRINGS,
    )
