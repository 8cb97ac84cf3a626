"""Compares what a replay fired with what was recorded."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from toban.core.replay import ReplayedFiring, RuleReplay
from toban.review.firing import Firing

SLACK: Final = timedelta(seconds=30)
"""How far the times of two firings may be apart beside two intervals: samples arrive later than they are evaluated."""
NEARLY: Final = 0.9


@dataclass(frozen=True, slots=True)
class ReplayComparison:
    """How many firings both have, and how many only one of them has."""

    matched: int
    only_recorded: int
    only_replayed: int

    @property
    def agrees(self) -> bool:
        """Whether a replay can be trusted: nine of ten firings of either are in the other."""
        most = self.matched + max(self.only_recorded, self.only_replayed)
        return self.matched >= NEARLY * most


def compare(replay: RuleReplay, recorded: Sequence[Firing]) -> ReplayComparison:
    """Compare a replay with the recorded firings of its rule; a firing of each matches one of the other at most."""
    slack = 2 * replay.interval + SLACK
    by_alert: dict[str, list[ReplayedFiring]] = {}
    for it in replay.firings:
        by_alert.setdefault(it.fingerprint, []).append(it)
    matched: Counter[bool] = Counter()
    within = [it for it in recorded if replay.begins <= it.fired < replay.ends]
    for firing in within:
        near = [it for it in by_alert.get(firing.fingerprint, ()) if abs(it.fired - firing.fired) <= slack]
        if near:
            by_alert[firing.fingerprint].remove(min(near, key=lambda it: abs(it.fired - firing.fired)))
        matched[bool(near)] += 1
    return ReplayComparison(matched[True], matched[False], sum(map(len, by_alert.values())))
