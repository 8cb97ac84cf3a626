"""How good a rule is: how often it fired, for how long, when, and what came of it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Final
from zoneinfo import ZoneInfo

from toban.core.alerts import PRIORITIES
from toban.core.wall_clock import NIGHT_HOURS
from toban.review.firing import Firing

LEAST_FIRINGS: Final = 5
"""Firings without which no shares are judged: they are shown."""
AIM_PAGES: Final = 0.7
AIM_OTHERS: Final = 0.5
"""The shares of firings on which somebody should act, of rules that page and of others."""
MOST_USELESS: Final = 0.1
MOST_REFIRED: Final = 0.05
REFIRES_WITHIN: Final = timedelta(minutes=30)


@dataclass(frozen=True, slots=True)
class Spread:
    """The median of some durations, and the one that 90 % don't exceed: a mean alone misleads."""

    median: timedelta
    p90: timedelta

    @classmethod
    def of(cls, durations: Iterable[timedelta]) -> "Spread | None":
        """Return the spread of durations, None without any."""
        found = sorted(durations)
        if not found:
            return None
        middle = timedelta(seconds=median(it.total_seconds() for it in found))
        return cls(middle, found[min(len(found) - 1, int(0.9 * len(found)))])


@dataclass(frozen=True, slots=True)
class RuleQuality:
    """
    What the firings of a rule in some time come to.

    ``refired`` counts those of an alert that had ended less than half an hour before, ``hours`` are the firings by the
    hour of the day in the shop's time zone.
    """

    rule: str
    priority: str
    fired: int
    alerts: int
    firing_time: timedelta
    at_night: int
    acknowledged: int
    acted_on: int
    useless: int
    refired: int
    messages: int
    pages: int
    to_acknowledge: Spread | None
    to_resolve: Spread | None
    hours: Sequence[int]

    @property
    def precision(self) -> float | None:
        """The share of its firings on which somebody acted; None where there are too few."""
        return self.acted_on / self.fired if self.fired >= LEAST_FIRINGS else None

    @property
    def aim(self) -> float:
        """What its precision should be."""
        return AIM_PAGES if self.pages else AIM_OTHERS

    @property
    def faults(self) -> Sequence[str]:
        """What is wrong with it: ``ignored``, ``useless``, ``flapping``; nothing where there are too few firings."""
        if self.precision is None:
            return ()
        found = [("ignored", self.precision < self.aim)]
        found.append(("useless", self.useless / self.fired > MOST_USELESS))
        found.append(("flapping", self.refired / self.fired > MOST_REFIRED))
        return [name for name, is_so in found if is_so]


def qualities(firings: Sequence[Firing], now: datetime, zone: ZoneInfo) -> list[RuleQuality]:
    """Return the quality of each rule that fired, the most frequent first."""
    by_rule: dict[str, list[Firing]] = {}
    for it in firings:
        by_rule.setdefault(it.rule, []).append(it)
    found = [quality(rule, of_rule, now, zone) for rule, of_rule in by_rule.items()]
    return sorted(found, key=lambda it: (-it.fired, it.rule))


def quality(rule: str, firings: Sequence[Firing], now: datetime, zone: ZoneInfo) -> RuleQuality:
    """Return the quality of a rule by its firings."""
    hours = [0] * 24
    for it in firings:
        hours[it.fired.astimezone(zone).hour] += 1
    return RuleQuality(
        rule,
        min((it.priority for it in firings), key=PRIORITIES.index),
        len(firings),
        len({it.fingerprint for it in firings}),
        sum(((it.ended or now) - it.fired for it in firings), timedelta()),
        sum(hours[hour] for hour in NIGHT_HOURS),
        sum(it.acknowledged is not None for it in firings),
        sum(bool(it.acts) for it in firings),
        sum(it.is_useless for it in firings),
        _refired(firings),
        sum(it.messages for it in firings),
        sum(it.pages for it in firings),
        Spread.of(it.acknowledged - it.fired for it in firings if it.acknowledged),
        Spread.of(it.duration for it in firings if it.duration is not None and not it.why),
        hours,
    )


def _refired(firings: Iterable[Firing]) -> int:
    ended: dict[str, datetime | None] = {}
    many = 0
    for it in sorted(firings, key=lambda one: one.fired):
        last = ended.get(it.fingerprint)
        many += last is not None and it.fired - last < REFIRES_WITHIN
        ended[it.fingerprint] = it.ended
    return many
