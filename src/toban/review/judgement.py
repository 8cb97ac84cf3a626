"""What a rule with another limit or `for` would have done: which firings saved, which incidents found or missed."""

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from statistics import median
from typing import Final

from toban.core.alerts import ALERTNAME
from toban.core.labels import Labels
from toban.core.replay import ReplayedFiring, RuleChange, RuleReplay
from toban.review.comparison import paired
from toban.review.firing import Firing
from toban.review.true_incident import TrueIncident

LEAST_SAVED: Final = 3
LEAST_SAVED_SHARE: Final = 0.3
MOST_LISTED: Final = 50
"""How many saved firings and incidents are listed, the newest."""
MOST_BRIEF: Final = 5
"""How many of them are listed for changes that are not proposed."""
LABELS_LENGTH: Final = 200
COMMON: Final = frozenset({ALERTNAME, "severity", "priority", "channels"})
"""Labels that all alerts of a rule have."""


@dataclass(frozen=True, slots=True)
class ListedFiring:
    """A firing of the present rule: which alert, when, and how many pages were sent for it."""

    labels: str
    fired: datetime
    ended: datetime | None
    pages: int = 0


@dataclass(frozen=True, slots=True)
class Detection:
    """An incident that the changed rule finds, and how much later than the present one; less than zero is earlier."""

    incident: TrueIncident
    later: timedelta


@dataclass(frozen=True, slots=True)
class JudgedChange:
    """
    Another limit or `for` of a rule, judged by replay.

    ``saved`` is how many firings fewer there would have been, ``saved_pages`` how many pages were sent for those that
    would not have been, ``saved_firings`` the newest of these. Of the incidents that the present rule finds,
    ``found`` would still be found and ``missed`` would not. ``later`` and ``worst`` are the median and the most by
    which alerts would have come later. ``source`` is what the limit comes from.
    """

    change: RuleChange
    source: str
    saved: int
    saved_pages: int
    saved_firings: tuple[ListedFiring, ...]
    found: tuple[Detection, ...]
    missed: tuple[TrueIncident, ...]
    later: timedelta
    worst: timedelta
    is_enough: bool
    """Whether it saves so many that it is worth a change."""

    def brief(self) -> "JudgedChange":
        """Return it with the newest of its firings and incidents only: of changes that are not proposed."""
        return replace(
            self,
            saved_firings=self.saved_firings[-MOST_BRIEF:],
            found=self.found[-MOST_BRIEF:],
            missed=self.missed[-MOST_BRIEF:],
        )


@dataclass(frozen=True, slots=True)
class PresentRule:
    """The replay of a rule as it is, with the firings that were recorded, and the incidents that it finds."""

    replay: RuleReplay
    pages: Mapping[tuple[str, datetime], int]
    """Pages of its firings, by fingerprint and time."""
    found: Mapping[TrueIncident, datetime]
    """When it finds which incident."""

    @classmethod
    def of(cls, replay: RuleReplay, recorded: Sequence[Firing], incidents: Sequence[TrueIncident]) -> "PresentRule":
        """Return it."""
        pages = {(it.fingerprint, it.fired): firing.pages for firing, it in paired(replay, recorded) if it}
        fired = [it.fired for it in replay.firings]
        found = {it: at for it in incidents if (at := it.is_found_at(fired))}
        return cls(replay, pages, found)


def judge(change: RuleChange, source: str, present: PresentRule, replayed: RuleReplay) -> JudgedChange:
    """Judge a change by its replay."""
    fired = [it.fired for it in replayed.firings]
    at = {incident: incident.is_found_at(fired) for incident in present.found}
    found = [Detection(it, when - present.found[it]) for it, when in at.items() if when]
    gone, _ = split_firings(present.replay, replayed)
    saved = len(present.replay.firings) - len(replayed.firings)
    delays = [it.later.total_seconds() for it in found]
    return JudgedChange(
        change,
        source,
        saved,
        sum(present.pages.get((it.fingerprint, it.fired), 0) for it in gone),
        tuple(listed(it, present) for it in gone[-MOST_LISTED:]),
        tuple(found[-MOST_LISTED:]),
        tuple(it for it, when in at.items() if when is None),
        timedelta(seconds=median(delays)) if delays else timedelta(),
        timedelta(seconds=max(delays)) if delays else timedelta(),
        saved >= max(LEAST_SAVED, LEAST_SAVED_SHARE * len(present.replay.firings)),
    )


def split_firings(present: RuleReplay, replayed: RuleReplay) -> tuple[list[ReplayedFiring], list[ReplayedFiring]]:
    """Return the firings of the present rule that would not have been, and those whose alert would fire in it."""
    by_alert: dict[str, list[datetime]] = {}
    for it in replayed.firings:
        by_alert.setdefault(it.fingerprint, []).append(it.fired)
    gone: list[ReplayedFiring] = []
    kept: list[ReplayedFiring] = []
    for it in present.firings:
        fired = by_alert.get(it.fingerprint, [])
        is_kept = bisect_left(fired, it.fired) < bisect_right(fired, it.ended or present.ends)
        (kept if is_kept else gone).append(it)
    return gone, kept


def listed(it: ReplayedFiring, present: PresentRule) -> ListedFiring:
    """Return a firing as it is listed."""
    return ListedFiring(_text(it.labels), it.fired, it.ended, present.pages.get((it.fingerprint, it.fired), 0))


def _text(labels: Labels) -> str:
    return ", ".join(f"{name}={value}" for name, value in sorted(labels.items()) if name not in COMMON)[:LABELS_LENGTH]
