"""Whether a limit that was applied has helped: the time after it beside as much time before."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from zoneinfo import ZoneInfo

from toban.core.errors import TobanError
from toban.core.replay import RuleChange
from toban.review.alert_review import EvaluatedRule
from toban.review.firing import Firing
from toban.review.proposals import Evidence, FiringHistory, ThresholdReview
from toban.review.quality import quality
from toban.review.true_incident import TrueIncident

LEAST: Final = timedelta(days=14)
"""Before so much time has passed nothing is compared."""
LONGEST: Final = timedelta(days=90)
WEEK: Final = timedelta(days=7)
MOST_MISSED: Final = 50
"""How many missed incidents are listed, the newest."""


@dataclass(frozen=True, slots=True)
class AppliedLimit:
    """
    A proposal that was applied: when, by whom, and what it promised.

    ``limit`` and ``for_`` are the new ones, ``old_limit`` and ``old_for`` those of before. ``saved`` of ``fired``
    firings in ``days`` would not have been, and the ``found`` incidents would still have been found.
    """

    rule: str
    at: datetime
    by: str
    old_limit: float
    old_for: timedelta
    limit: float
    for_: timedelta
    fired: int
    saved: int
    found: int
    days: float
    source: str
    id: int = 0
    """Its number; 0 before it is stored."""

    @property
    def saved_per_month(self) -> float:
        """How many firings fewer it promised for 30 days."""
        return self.saved / self.days * 30 if self.days else 0.0

    def is_in_force(self, rule: EvaluatedRule | None) -> bool:
        """Return whether a rule has its limit and its `for`."""
        return rule is not None and (rule.limit, rule.for_) == (self.limit, self.for_)


class Verdict(StrEnum):
    """What a comparison says."""

    TOO_EARLY = "too_early"
    CHANGED = "changed"
    """The rule has another limit or `for` now."""
    UNKNOWN = "unknown"
    """The rule can't be replayed with the limit of before."""
    MISSES = "misses"
    """An incident was not found that the limit of before would have found."""
    HELPED = "helped"
    NO_DIFFERENCE = "no_difference"
    """It does not fire less often."""


@dataclass(frozen=True, slots=True)
class FiringFigures:
    """What the firings of a rule in some time come to; ``acted_on`` is None where there are too few."""

    fired: int
    per_week: float
    useless: int
    pages: int
    acted_on: float | None

    @classmethod
    def of(cls, firings: Sequence[Firing], span: timedelta, now: datetime, zone: ZoneInfo) -> "FiringFigures":
        """Return the figures of some firings."""
        if not firings:
            return cls(0, 0.0, 0, 0, None)
        found = quality(firings[0].rule, firings, now, zone)
        return cls(found.fired, found.fired / (span / WEEK), found.useless, found.pages, found.precision)


@dataclass(frozen=True, slots=True)
class FollowUp:
    """
    The comparison of an applied limit, by its number, at a time.

    ``days`` is how much time after it is compared with as much before. ``missed`` are the incidents that the limit of
    before would have found and the new one did not; ``error`` says why that is not known.
    """

    applied: int
    at: datetime
    verdict: Verdict
    days: float
    before: FiringFigures | None = None
    after: FiringFigures | None = None
    missed: tuple[TrueIncident, ...] = ()
    error: str = ""


async def follow_up(
    applied: AppliedLimit,
    rule: EvaluatedRule | None,
    evidence: Evidence,
    history: FiringHistory,
    review: ThresholdReview,
    zone: ZoneInfo,
) -> FollowUp:
    """Compare the time after a limit was applied with as much time before. Raises ``StateError``."""
    now = evidence.now
    span = min(now - applied.at, LONGEST)
    days = span / timedelta(days=1)
    if not applied.is_in_force(rule):
        return FollowUp(applied.id, now, Verdict.CHANGED, days)
    if span < LEAST:
        return FollowUp(applied.id, now, Verdict.TOO_EARLY, days)
    ends = applied.at + span
    before, after = [
        await history(begins, until, applied.rule)
        for begins, until in ((applied.at - span, applied.at), (applied.at, ends))
    ]
    then, since = (FiringFigures.of(it, span, now, zone) for it in (before, after))
    try:
        old = await review.replay(applied.rule, applied.at, ends, RuleChange(applied.old_limit, applied.old_for))
    except TobanError as error:
        return FollowUp(applied.id, now, Verdict.UNKNOWN, days, then, since, error=str(error))
    fired, would = sorted(it.fired for it in after), [it.fired for it in old.firings]
    within = [it for it in evidence.incidents if applied.at <= it.begins < ends]
    missed = tuple(it for it in within if it.is_found_at(would) and not it.is_found_at(fired))
    return FollowUp(applied.id, now, _verdict(then, since, missed), days, then, since, missed[-MOST_MISSED:])


def _verdict(before: FiringFigures, after: FiringFigures, missed: Sequence[TrueIncident]) -> Verdict:
    if missed:
        return Verdict.MISSES
    return Verdict.HELPED if after.fired < before.fired else Verdict.NO_DIFFERENCE
