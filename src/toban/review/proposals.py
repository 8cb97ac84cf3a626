"""Proposals of other limits: what a rule would have done with them in the last 90 days, by replay."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from toban.core.config_types import format_duration
from toban.core.errors import QueryError, TobanError
from toban.core.ports import QueryEngine
from toban.core.replay import ReplayedFiring, RuleChange, RuleReplay, RuleReplayer
from toban.core.samples import milliseconds
from toban.review.alert_review import EvaluatedRule
from toban.review.comparison import compare
from toban.review.error_budget import Span
from toban.review.firing import Firing
from toban.review.quality import LEAST_FIRINGS, quality
from toban.review.thresholds import Values, candidates

LENGTH: Final = timedelta(days=90)
AROUND: Final = timedelta(hours=1)
"""What is cut out before and after an incident, so that its values are no quiet time."""
EARLY: Final = timedelta(minutes=15)
"""How much earlier than an incident a firing still finds it."""
TRAINED: Final = 0.75
"""The part of the time from which limits are taken; they are shown on all of it."""
FORS: Final = tuple(timedelta(minutes=it) for it in (5, 10, 15))
LEAST_SAVED: Final = 3
LEAST_SAVED_SHARE: Final = 0.3
NEARLY_AS_MUCH: Final = 0.95
REAL: Final = frozenset({"runbook", "note"})
"""Acts that say that a firing was about a true incident; a silence may say that it was not."""
SLICE: Final = 8_000
"""Steps of one query of a rule's values."""

FiringHistory = Callable[[datetime, datetime], Awaitable[Sequence[Firing]]]


@dataclass(frozen=True, slots=True)
class Proposal:
    """
    Another limit or `for` of a rule.

    ``fired`` is how often it fired in the time, ``saved`` how many of these would not have been. It found ``found``
    true incidents and would have found all of them, ``later`` later (median). ``days`` is the length of the time,
    ``source`` what the limit comes from.
    """

    rule: str
    limit: float
    for_: timedelta
    change: RuleChange
    fired: int
    saved: int
    found: int
    later: timedelta
    days: float
    source: str
    expression: str = ""
    """The expression of the rule: a proposal is void once it has another one."""

    @property
    def override(self) -> dict[str, str]:
        """What to write under `alerting.overrides.RULE`."""
        limit = {} if self.change.limit is None else {"limit": f"{self.change.limit:.12g}"}
        return limit if self.change.for_ is None else {**limit, "for": format_duration(self.change.for_)}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nothing is proposed for a rule."""

    rule: str
    reason: str


class ThresholdReview:
    """Looks for better limits of rules on which too seldom anybody acts."""

    def __init__(
        self,
        replayer: RuleReplayer,
        engine: QueryEngine,
        history: FiringHistory,
        planned: Callable[[datetime, datetime], Sequence[Span]],
        zone: ZoneInfo,
    ) -> None:
        self._replayer = replayer
        self._engine = engine
        self._history = history
        self._planned = planned
        self._zone = zone

    async def propose(self, rule: EvaluatedRule, now: datetime) -> Proposal | Refusal:
        """Return a proposal for a rule, or why there is none."""
        try:
            return await self._propose(rule, now)
        except TobanError as error:
            return Refusal(rule.name, str(error))

    async def _propose(self, rule: EvaluatedRule, now: datetime) -> Proposal | Refusal:
        begins = now - LENGTH
        firings = await self._history(begins, now)
        own = [it for it in firings if it.rule == rule.name]
        if reason := _unsuitable(rule, own, now, self._zone):
            return Refusal(rule.name, reason)
        (present,) = await self._replay(rule, begins, now, RuleChange())
        if not compare(present, own).agrees:
            return Refusal(
                rule.name, "its replay differs from what was recorded: its samples or its query have changed"
            )
        incidents = true_incidents(firings)
        found = [it for it in incidents if _finds(present.firings, it)]
        times, values = await self._values(rule, begins, now)
        if not len(times):
            return Refusal(rule.name, "there are no samples")
        quiet = quiet_time(times, [*incidents, *self._planned(begins, now)])
        trained = times < times[0] + (times[-1] - times[0]) * TRAINED
        sign = -1.0 if rule.operator.startswith("<") else 1.0
        peaks = np.array([it for span in found if (it := _peak(times, values * sign, span)) is not None])
        limits = candidates(times[quiet & trained], (values * sign)[quiet & trained], peaks)
        worse = [it for it in limits if it.limit > rule.limit * sign]
        changes = [(RuleChange(it.limit * sign), it.source) for it in worse]
        changes += [(RuleChange(for_=it), "a longer `for`") for it in FORS if it > rule.for_]
        judged = []
        for change, source in changes:
            (replayed,) = await self._replay(rule, begins, now, change)
            if proposal := _judged(rule, change, source, present, replayed, found):
                judged.append(proposal)
        if not judged:
            return Refusal(rule.name, "no limit and no `for` saves enough without missing an incident")
        most = max(it.saved for it in judged)
        # Of those that save about as much, the one that finds incidents soonest; then the one that changes least.
        return min((it for it in judged if it.saved >= NEARLY_AS_MUCH * most), key=lambda it: it.later)

    async def _replay(
        self, rule: EvaluatedRule, begins: datetime, ends: datetime, change: RuleChange
    ) -> Sequence[RuleReplay]:
        found = await self._replayer.replay(rule.name, begins, ends, change)
        if len(found) != 1:
            raise QueryError("there are several rules of this name")
        return found

    async def _values(self, rule: EvaluatedRule, begins: datetime, ends: datetime) -> tuple[NDArray[np.int64], Values]:
        """Return the worst value of the rule's series at each interval. Raises ``QueryError``, ``StoreError``."""
        worst = "min" if rule.operator.startswith("<") else "max"
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


def _unsuitable(rule: EvaluatedRule, own: Sequence[Firing], now: datetime, zone: ZoneInfo) -> str:
    if rule.is_protected:
        return "its limit has a meaning, whatever happened: P1, security, backups, certificates"
    if not rule.operator:
        return "its expression has no single comparison with a number"
    if len(own) < LEAST_FIRINGS:
        return f"it fired less than {LEAST_FIRINGS} times in 90 days"
    found = quality(rule.name, own, now, zone)
    return "" if found.precision is not None and found.precision < found.aim else "people act on it"


def true_incidents(firings: Sequence[Firing]) -> list[Span]:
    """Return the times in which something was wrong, by what people and runbooks did; those that touch are one."""
    spans = sorted((it.began, it.ended) for it in firings if it.ended and any(act.kind in REAL for act in it.acts))
    merged: list[Span] = []
    for begins, ends in spans:
        if merged and begins <= merged[-1][1] + EARLY:
            merged[-1] = merged[-1][0], max(ends, merged[-1][1])
        else:
            merged.append((begins, ends))
    return merged


def quiet_time(times: NDArray[np.int64], cut: Sequence[Span]) -> NDArray[np.bool_]:
    """Return which times (milliseconds) are an hour away from incidents and planned windows."""
    quiet = np.ones(len(times), bool)
    for begins, ends in cut:
        quiet &= (times < milliseconds(begins - AROUND)) | (times > milliseconds(ends + AROUND))
    return quiet


def _finds(firings: Sequence[ReplayedFiring], incident: Span) -> ReplayedFiring | None:
    return next((it for it in firings if incident[0] - EARLY <= it.fired <= incident[1]), None)


def _peak(times: NDArray[np.int64], badness: Values, span: Span) -> float | None:
    within = badness[(times >= milliseconds(span[0] - EARLY)) & (times <= milliseconds(span[1]))]
    return float(within.max()) if len(within) else None


def _judged(
    rule: EvaluatedRule,
    change: RuleChange,
    source: str,
    present: RuleReplay,
    replayed: RuleReplay,
    incidents: Sequence[Span],
) -> Proposal | None:
    """Return a proposal if it misses no incident and saves enough."""
    before = [_finds(present.firings, it) for it in incidents]
    after = [_finds(replayed.firings, it) for it in incidents]
    saved = len(present.firings) - len(replayed.firings)
    if None in after or saved < max(LEAST_SAVED, LEAST_SAVED_SHARE * len(present.firings)):
        return None
    delays = [(b.fired - a.fired).total_seconds() for a, b in zip(before, after, strict=True) if a and b]
    later = timedelta(seconds=max(0.0, median(delays))) if delays else timedelta()
    days = (present.ends - present.begins) / timedelta(days=1)
    fired = len(present.firings)
    return Proposal(
        rule.name, rule.limit, rule.for_, change, fired, saved, len(incidents), later, days, source, rule.expression
    )
