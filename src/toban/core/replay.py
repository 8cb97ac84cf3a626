"""What a rule would have done: its evaluation over stored samples, as alerting replays it and review judges it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from toban.core.alerts import fingerprint
from toban.core.labels import Labels


@dataclass(frozen=True, slots=True)
class ReplayedFiring:
    """An alert as it would have fired; ``ended`` is None where it still fires at the end of the replay."""

    labels: Labels
    began: datetime
    fired: datetime
    ended: datetime | None = None

    @property
    def fingerprint(self) -> str:
        """The fingerprint of its alert."""
        return fingerprint(self.labels)


@dataclass(frozen=True, slots=True)
class RuleReplay:
    """
    What one rule would have done between two times.

    ``firings`` fired in this time, in order; ``before`` is how many alerts fired when it began. ``evaluations`` counts
    the times at which toban ran, ``failed`` those at which its query failed, with the last ``error``. ``blind`` is for
    how long toban did not run.
    """

    rule: str
    begins: datetime
    ends: datetime
    interval: timedelta
    firings: Sequence[ReplayedFiring] = ()
    before: int = 0
    evaluations: int = 0
    failed: int = 0
    error: str = ""
    blind: timedelta = timedelta()
    truncated: bool = False
    """Whether it fired more often than is kept."""

    @property
    def firing_time(self) -> timedelta:
        """For how long it would have fired, all alerts together."""
        return sum(((it.ended or self.ends) - it.fired for it in self.firings), timedelta())


@dataclass(frozen=True, slots=True)
class RuleChange:
    """Another limit or another ``for`` of a rule; None leaves what it has."""

    limit: float | None = None
    for_: timedelta | None = None


class RuleReplayer(Protocol):
    """Replays rules over stored samples."""

    async def replay(
        self, rule: str, begins: datetime, ends: datetime, change: RuleChange = RuleChange()
    ) -> Sequence[RuleReplay]:
        """
        Replay the rules of a name, with another limit or ``for``.

        Raises ``NotFoundError``, and ``QueryError`` where they can't be replayed.
        """
        ...
