"""Proposals of other limits: what a rule would have done with them in the last 90 days, by replay."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from toban.core.config_types import format_duration
from toban.core.errors import QueryError, TobanError
from toban.core.incident_record import IncidentHistory
from toban.core.ports import QueryEngine
from toban.core.replay import RuleChange, RuleReplay, RuleReplayer
from toban.core.samples import milliseconds, moment
from toban.review.alert_review import EvaluatedRule
from toban.review.comparison import compare
from toban.review.error_budget import Span
from toban.review.firing import Firing
from toban.review.judgement import JudgedChange, PresentRule, judge, split_firings
from toban.review.quality import LEAST_FIRINGS, quality
from toban.review.thresholds import Candidate, Values, candidates
from toban.review.true_incident import EARLY, TrueIncident, true_incidents, unnoticed
from toban.review.value_curve import ValueCurve, value_curve

NO_CHANGE: Final = RuleChange()
LENGTH: Final = timedelta(days=90)
AROUND: Final = timedelta(hours=1)
"""What is cut out before and after an incident, so that its values are no quiet time."""
TRAINED: Final = 0.75
"""The part of the time from which limits are taken; they are shown on all of it."""
FORS: Final = tuple(timedelta(minutes=it) for it in (5, 10, 15))
NEARLY_AS_MUCH: Final = 0.95
SLICE: Final = 8_000
"""Steps of one query of a rule's values."""

FiringHistory = Callable[[datetime, datetime, str], Awaitable[Sequence[Firing]]]
"""Returns what fired between two times, of one rule if one is named."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """
    What is known of the past when rules are reviewed, up to ``now``.

    ``incidents`` are the true ones, ``unnoticed`` those of them in which nothing fired.
    """

    now: datetime
    incidents: Sequence[TrueIncident]
    unnoticed: Sequence[TrueIncident] = ()

    @property
    def begins(self) -> datetime:
        """Since when."""
        return self.now - LENGTH


@dataclass(frozen=True, slots=True)
class Proposal:
    """
    Another limit or `for` of a rule.

    ``judged`` is the change with what it would have done, ``others`` are the other changes that were judged. ``fired``
    is how often the rule fired in the time, ``days`` for how long there are samples, ``incidents`` are the true ones of
    it that the rule finds. A proposal is void once its rule has another expression or `for`.
    """

    rule: str
    limit: float
    for_: timedelta
    judged: JudgedChange
    fired: int
    days: float
    expression: str = ""
    others: tuple[JudgedChange, ...] = ()
    incidents: tuple[TrueIncident, ...] = ()
    curve: ValueCurve | None = None

    @property
    def change(self) -> RuleChange:
        """The proposed change."""
        return self.judged.change

    @property
    def override(self) -> dict[str, str]:
        """What to write under `alerting.overrides.RULE`."""
        limit = {} if self.change.limit is None else {"limit": f"{self.change.limit:.12g}"}
        return limit if self.change.for_ is None else {**limit, "for": format_duration(self.change.for_)}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing is proposed for a rule, and what the changes that were judged would have done."""

    rule: str
    reason: str
    judged: tuple[JudgedChange, ...] = ()


class ThresholdReview:
    """Looks for better limits of rules on which too seldom anybody acts."""

    def __init__(
        self,
        replayer: RuleReplayer,
        engine: QueryEngine,
        history: FiringHistory,
        book: IncidentHistory,
        planned: Callable[[datetime, datetime], Sequence[Span]],
        zone: ZoneInfo,
    ) -> None:
        self._replayer = replayer
        self._engine = engine
        self._history = history
        self._book = book
        self._planned = planned
        self._zone = zone

    async def evidence(self, now: datetime) -> Evidence:
        """Return what is known of the last 90 days. Raises ``StateError``."""
        begins = now - LENGTH
        firings = await self._history(begins, now, "")
        records = await self._book.true_incidents(begins, now)

        def work() -> Evidence:
            found = true_incidents(firings, records, now)
            return Evidence(now, found, unnoticed(found, firings))

        return await asyncio.to_thread(work)

    async def propose(
        self, rule: EvaluatedRule, evidence: Evidence, since: datetime | None = None
    ) -> Proposal | Refusal:
        """
        Return a proposal for a rule, or why there is none.

        ``since`` is since when it has its present limit, where toban knows it: what fired before is not its record.
        """
        try:
            return await self._propose(rule, evidence, max(evidence.begins, since or evidence.begins))
        except TobanError as error:
            return Refusal(rule.name, str(error))

    async def _propose(self, rule: EvaluatedRule, evidence: Evidence, since: datetime) -> Proposal | Refusal:
        begins, now = evidence.begins, evidence.now
        own = await self._history(since, now, rule.name)
        if reason := _unsuitable(rule, own, evidence, since, self._zone):
            return Refusal(rule.name, reason)
        replay = await self.replay(rule.name, begins, now)
        of_its_time = replace(replay, begins=since, firings=[it for it in replay.firings if it.fired >= since])
        if not compare(of_its_time, own).agrees:
            return Refusal(
                rule.name, "its replay differs from what was recorded: its samples or its query have changed"
            )
        times, values = await self._values(rule, begins, now)
        if not len(times):
            return Refusal(rule.name, "there are no samples")
        present = PresentRule.of(replay, own, evidence.incidents)
        judged, replays = [], []
        for change, source in await asyncio.to_thread(self._changes, rule, evidence, present, times, values):
            replays.append(await self.replay(rule.name, begins, now, change))
            judged.append(judge(change, source, present, replays[-1]))
        best = _best(judged)
        if best is None:
            brief = tuple(it.brief() for it in judged)
            return Refusal(rule.name, "no limit and no `for` saves enough without missing an incident", brief)
        gone, kept = split_firings(replay, replays[judged.index(best)])
        first = max(begins, moment(int(times[0])))
        curve = value_curve(
            times,
            values,
            first,
            now,
            lowest=rule.fires_below,
            kept=[it.fired for it in kept],
            saved=[it.fired for it in gone],
        )
        return Proposal(
            rule.name,
            rule.limit,
            rule.for_,
            best,
            len(replay.firings),
            (now - first) / timedelta(days=1),
            rule.expression,
            tuple(it.brief() for it in judged if it is not best),
            tuple(present.found),
            curve,
        )

    async def replay(self, rule: str, begins: datetime, ends: datetime, change: RuleChange = NO_CHANGE) -> RuleReplay:
        """Replay the one rule of a name. Raises ``QueryError`` where there are several, and like its replayer."""
        found = await self._replayer.replay(rule, begins, ends, change)
        if len(found) != 1:
            raise QueryError("there are several rules of this name")
        return found[0]

    def _changes(
        self,
        rule: EvaluatedRule,
        evidence: Evidence,
        present: PresentRule,
        times: NDArray[np.int64],
        values: Values,
    ) -> list[tuple[RuleChange, str]]:
        """Return the changes to judge, each with its source: limits that are less strict, and a longer `for`."""
        spans = [(it.begins, it.ends) for it in evidence.incidents]
        quiet = quiet_time(times, [*spans, *self._planned(evidence.begins, evidence.now)])
        trained = times < times[0] + (times[-1] - times[0]) * TRAINED
        sign = -1.0 if rule.fires_below else 1.0
        badness = values * sign
        peaks = np.array([it for one in present.found if (it := _peak(times, badness, one)) is not None])
        limits: list[Candidate] = candidates(times[quiet & trained], badness[quiet & trained], peaks)
        changes = [(RuleChange(it.limit * sign), it.source) for it in limits if it.limit > rule.limit * sign]
        return changes + [(RuleChange(for_=it), "a longer `for`") for it in FORS if it > rule.for_]

    async def _values(self, rule: EvaluatedRule, begins: datetime, ends: datetime) -> tuple[NDArray[np.int64], Values]:
        """Return the worst value of the rule's series at each interval. Raises ``QueryError``, ``StoreError``."""
        worst = "min" if rule.fires_below else "max"
        step = max(rule.interval, timedelta(minutes=1)) // timedelta(milliseconds=1)
        parts_of_times, parts = [np.empty(0, np.int64)], [np.empty(0)]
        for start in range(milliseconds(begins) // step * step, milliseconds(ends), SLICE * step):
            until = min(start + (SLICE - 1) * step, milliseconds(ends))
            result = await self._engine.range(f"{worst}({rule.value})", start, until, step)
            for series in result.series:
                parts_of_times.append(series.times)
                parts.append(series.values)
        times, values = np.concatenate(parts_of_times), np.concatenate(parts)
        known = np.isfinite(values)
        return times[known], values[known]


def _unsuitable(rule: EvaluatedRule, own: Sequence[Firing], evidence: Evidence, since: datetime, zone: ZoneInfo) -> str:
    if reason := ENGINES.get(rule.engine, ""):
        return reason
    if rule.is_protected:
        return "its limit has a meaning, whatever happened: P1, security, backups, certificates"
    if not rule.operator:
        return "its expression has no single comparison with a number"
    if len(own) < LEAST_FIRINGS:
        when = "in 90 days" if since <= evidence.begins else "with its present limit"
        return f"it fired less than {LEAST_FIRINGS} times {when}"
    found = quality(rule.name, own, evidence.now, zone)
    return "" if found.precision is not None and found.precision < found.aim else "people act on it"


ENGINES: Final = {
    "logs": "it counts log lines: these are kept for a shorter time than is replayed, and are not read again",
    "outside": "an engine outside of toban evaluates it: its samples are not here to be replayed",
}
"""Why rules of other engines are not replayed."""


def quiet_time(times: NDArray[np.int64], cut: Sequence[Span]) -> NDArray[np.bool_]:
    """Return which times (milliseconds) are an hour away from incidents and planned windows."""
    quiet = np.ones(len(times), bool)
    for begins, ends in cut:
        first, last = np.searchsorted(times, [milliseconds(begins - AROUND), milliseconds(ends + AROUND) + 1])
        quiet[first:last] = False
    return quiet


def _peak(times: NDArray[np.int64], badness: Values, incident: TrueIncident) -> float | None:
    begins, ends = milliseconds(incident.begins - EARLY), milliseconds(incident.ends)
    first, last = np.searchsorted(times, [begins, ends + 1])
    return float(badness[first:last].max()) if first < last else None


def _best(judged: Sequence[JudgedChange]) -> JudgedChange | None:
    """Return the change to propose, None where each misses an incident or saves too little."""
    good = [it for it in judged if it.is_enough and not it.missed]
    most = max((it.saved for it in good), default=0)
    # Of those that save about as much, the one that finds incidents soonest; then the one that changes least.
    best = [it for it in good if it.saved >= NEARLY_AS_MUCH * most]
    return min(best, key=lambda it: max(timedelta(), it.later), default=None)
