"""Where rules are judged, and how that went."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from toban.alerting import recorded_series
from toban.alerting.rule_file import AlertRule, Group, RecordingRule, Rule


class Health(StrEnum):
    """How it stands with a rule; the first three are well."""

    UNKNOWN = "unknown"
    """It was not judged yet."""
    OK = "ok"
    ASLEEP = "asleep"
    """What it reads was never there: its source is not configured, or nothing of the sort ever happened."""
    NO_DATA = "no data"
    """What it reads was there and is gone: nobody knows."""
    FAILED = "err"
    """Its query can't be answered."""
    LATE = "late"
    """It was not judged in time."""

    @property
    def well(self) -> bool:
        """Whether nothing is wrong with it."""
        return self in {Health.UNKNOWN, Health.OK, Health.ASLEEP}


@dataclass(frozen=True, slots=True)
class Seen:
    """How the last judgement of a rule went."""

    health: Health = Health.UNKNOWN
    error: str = ""
    at: datetime | None = None
    seconds: float = 0.0


class Seat:
    """One rule where it is judged."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.seen = Seen()
        self.series = recorded_series.recorded(rule.name) if isinstance(rule, RecordingRule) else None

    @property
    def key(self) -> str:
        """What its alerts are remembered under; nothing where it has none."""
        return self.rule.key if isinstance(self.rule, AlertRule) else ""


class Bench:
    """One group of rules where it is judged, and how that went."""

    def __init__(self, group: Group, every: timedelta) -> None:
        self.group = group
        self.every = group.every or every
        self.seats = [Seat(rule) for rule in group.rules]
        self.at: datetime | None = None
        self.seconds = 0.0
        self.series = recorded_series.alerts()

    def runs(self) -> Iterator[list[Seat]]:
        """Return the rules in runs whose queries may be asked together: what one writes down, the next can read."""
        run: list[Seat] = []
        for seat in self.seats:
            run.append(seat)
            if seat.series:
                yield run
                run = []
        yield run

    def after(self, before: "Bench | None") -> "Bench":
        """Return what goes on with a group: the same bench when nothing changed, else this one with its series."""
        if before is None:
            return self
        if (before.group, before.every) == (self.group, self.every):
            return before
        there = {seat.rule.name: seat.series for seat in before.seats if seat.series}
        for seat in self.seats:
            if seat.series:
                seat.series = there.pop(seat.rule.name, seat.series)
        self.series, self.at = before.series, before.at
        return self

    def writers(self) -> Iterator[recorded_series.Series]:
        """Return what writes its series."""
        yield self.series
        yield from (seat.series for seat in self.seats if seat.series)

    def late(self, now: datetime) -> bool:
        """Whether it was not judged for three intervals."""
        return self.at is not None and now - self.at > 3 * self.every + timedelta(seconds=5)
