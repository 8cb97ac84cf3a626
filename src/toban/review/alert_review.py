"""The review of alerts: how good each rule was in a month, and which rules could not have fired."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from toban.core.alerts import PRIORITIES
from toban.core.errors import InvalidCommandError
from toban.core.ports import Clock
from toban.review.firing import month_of
from toban.review.quality import RuleQuality, qualities
from toban.review.recorder import FiringRecorder

PROTECTED: Final = re.compile(r"backup|restore|cert|ssl|tls|wraparound|xid|security|login|expir|toban_")
MONTH: Final = re.compile(r"[0-9]{4}-(0[1-9]|1[0-2])")
QUIET: Final = timedelta(days=90)
"""After how long without a firing a rule is listed as quiet."""
MOST_FIRINGS: Final = 100_000


@dataclass(frozen=True, slots=True)
class EvaluatedRule:
    """
    A rule that is evaluated: whether its data has ever been there, and what it reads.

    ``value``, ``operator`` and ``limit`` are the single comparison of its expression with a number; the operator is
    empty where there is none.
    """

    name: str
    priority: str
    has_data: bool
    reads: Sequence[str]
    value: str = ""
    operator: str = ""
    limit: float = 0.0
    for_: timedelta = timedelta()
    interval: timedelta = timedelta(seconds=15)
    expression: str = ""
    engine: str = "embedded"
    """The engine that evaluates it."""

    @property
    def fires_below(self) -> bool:
        """Whether it fires below its limit."""
        return self.operator.startswith("<")

    @property
    def is_protected(self) -> bool:
        """Whether its limit has a meaning, whatever happened: that of urgent rules, security, backups, certificates."""
        return self.priority == PRIORITIES[0] or any(PROTECTED.search(it) for it in (self.name, *self.reads))


@dataclass(frozen=True, slots=True)
class AlertReview:
    """
    The review of a month.

    ``without_data`` are the rules whose data has never been there: they can't fire. ``quiet`` are those that have data
    and have not fired for 90 days: a drill or a test shows whether they would.
    """

    month: str
    begins: datetime
    ends: datetime
    rules: Sequence[RuleQuality]
    without_data: Sequence[EvaluatedRule]
    quiet: Sequence[EvaluatedRule]

    @property
    def pages_at_night(self) -> int:
        """How many firings of rules that page began at night."""
        return sum(it.at_night for it in self.rules if it.pages)


class AlertReviews:
    """Makes reviews from the history of firings."""

    def __init__(
        self, recorder: FiringRecorder, rules: Callable[[], Sequence[EvaluatedRule]], zone: ZoneInfo, clock: Clock
    ) -> None:
        self._recorder = recorder
        self._rules = rules
        self._zone = zone
        self._clock = clock

    async def review(self, month: str = "") -> AlertReview:
        """
        Return the review of a month like 2026-11, by default of this one.

        Raises ``InvalidCommandError``, ``StateError``.
        """
        now = self._clock.now()
        month = month or month_of(now, self._zone)
        if not MONTH.fullmatch(month):
            raise InvalidCommandError(f"{month[:20]!r} is no month: write it like 2026-11", "month")
        begins, ends = month_span(month, self._zone)
        if begins > now:
            raise InvalidCommandError("it has not begun", "month")
        firings = (await self._recorder.history(begins, ends, limit=MOST_FIRINGS)).firings
        lately = (await self._recorder.history(now - QUIET, now + timedelta(minutes=1), limit=MOST_FIRINGS)).months
        fired = {rule for month, rule, _ in lately if month >= month_of(now - QUIET, self._zone)}
        rules = list(self._rules())
        return AlertReview(
            month,
            begins,
            min(ends, now),
            qualities(firings, min(now, ends), self._zone),
            [it for it in rules if not it.has_data],
            [it for it in rules if it.has_data and it.name not in fired],
        )


def month_span(month: str, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Return when a month begins and ends in a time zone, in UTC."""
    first = datetime(int(month[:4]), int(month[5:]), 1, tzinfo=zone)
    following = (first.replace(tzinfo=None) + timedelta(days=32)).replace(day=1, tzinfo=zone)
    return first.astimezone(UTC), following.astimezone(UTC)
