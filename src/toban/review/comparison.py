"""Compares what a replay fired with what was recorded."""

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
    """Compare a replay with the recorded firings of its rule."""
    pairs = paired(replay, recorded)
    matched = sum(it is not None for _, it in pairs)
    return ReplayComparison(matched, len(pairs) - matched, len(replay.firings) - matched)


def paired(replay: RuleReplay, recorded: Sequence[Firing]) -> list[tuple[Firing, ReplayedFiring | None]]:
    """Return each recorded firing within the time of a replay, with its own one there; none is that of two."""
    slack = 2 * replay.interval + SLACK
    by_alert: dict[str, list[ReplayedFiring]] = {}
    for it in replay.firings:
        by_alert.setdefault(it.fingerprint, []).append(it)
    found: list[tuple[Firing, ReplayedFiring | None]] = []
    for firing in recorded:
        if not replay.begins <= firing.fired < replay.ends:
            continue
        near = [it for it in by_alert.get(firing.fingerprint, ()) if abs(it.fired - firing.fired) <= slack]
        nearest = min(near, key=lambda it: abs(it.fired - firing.fired)) if near else None
        if nearest:
            by_alert[firing.fingerprint].remove(nearest)
        found.append((firing, nearest))
    return found
