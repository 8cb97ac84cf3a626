"""Where rules are judged, and how that went."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from toban.alerting import recorded_series
from toban.alerting.rule_file import AlertRule, RecordingRule, Rule, RuleGroup


class RuleHealth(StrEnum):
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
    def is_ok(self) -> bool:
        """Whether nothing is wrong with it."""
        return self in {RuleHealth.UNKNOWN, RuleHealth.OK, RuleHealth.ASLEEP}


@dataclass(frozen=True, slots=True)
class LastEvaluation:
    """How the last judgement of a rule went."""

    health: RuleHealth = RuleHealth.UNKNOWN
    error: str = ""
    at: datetime | None = None
    seconds: float = 0.0


class RuleState:
    """One rule where it is judged."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.last = LastEvaluation()
        self.series = recorded_series.recorded_metric_writer(rule.name) if isinstance(rule, RecordingRule) else None

    @property
    def key(self) -> str:
        """What its alerts are remembered under; nothing where it has none."""
        return self.rule.key if isinstance(self.rule, AlertRule) else ""


class GroupState:
    """One group of rules where it is judged, and how that went."""

    def __init__(self, group: RuleGroup, every: timedelta) -> None:
        self.group = group
        self.interval = group.interval or every
        self.rules = [RuleState(rule) for rule in group.rules]
        self.at: datetime | None = None
        self.seconds = 0.0
        self.series = recorded_series.alerts_writer()

    def batches(self) -> Iterator[list[RuleState]]:
        """Return the rules in runs whose queries may be asked together: what one writes down, the next can read."""
        run: list[RuleState] = []
        for seat in self.rules:
            run.append(seat)
            if seat.series:
                yield run
                run = []
        yield run

    def carry_over(self, before: "GroupState | None") -> "GroupState":
        """Return what goes on with a group: the same bench when nothing changed, else this one with its series."""
        if before is None:
            return self
        if (before.group, before.interval) == (self.group, self.interval):
            return before
        there = {seat.rule.name: seat.series for seat in before.rules if seat.series}
        for seat in self.rules:
            if seat.series:
                seat.series = there.pop(seat.rule.name, seat.series)
        self.series, self.at = before.series, before.at
        return self

    def series_writers(self) -> Iterator[recorded_series.SeriesWriter]:
        """Return what writes its series."""
        yield self.series
        yield from (seat.series for seat in self.rules if seat.series)

    def is_late(self, now: datetime) -> bool:
        """Whether it was not judged for three intervals."""
        return self.at is not None and now - self.at > 3 * self.interval + timedelta(seconds=5)
