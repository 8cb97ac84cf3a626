"""The state of rules and rule groups between evaluations."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from toban.alerting import recorded_series
from toban.alerting.rule_file import AlertRule, RecordingRule, Rule, RuleGroup
from toban.core.query_result import DataPresence

STARTUP_PERIOD: Final = timedelta(minutes=10)
"""How long after a start data may be missing only because toban was not running."""


class RuleHealth(StrEnum):
    """The result of a rule's last evaluation; the first three are healthy."""

    UNKNOWN = "unknown"
    """It has not been evaluated yet."""
    OK = "ok"
    INACTIVE = "inactive"
    """It has never had data: its source is not configured, or has counted nothing yet."""
    NO_DATA = "no data"
    """Its data is missing; it had some before."""
    FAILED = "err"
    """Its query fails."""
    LATE = "late"
    """It was not evaluated in time."""

    @property
    def is_ok(self) -> bool:
        """Whether it is healthy."""
        return self in {RuleHealth.UNKNOWN, RuleHealth.OK, RuleHealth.INACTIVE}


def health_without_result(presence: DataPresence, *, had_data: bool, is_startup: bool, is_firing: bool) -> RuleHealth:
    """
    Return the health of a rule whose result is empty, by how much of its data is there.

    ``had_data`` is whether it has ever had data, ``is_startup`` whether toban started less than `STARTUP_PERIOD` ago,
    ``is_firing`` whether one of its alerts fires. Without data its alerts stay as they are.
    """
    if presence is DataPresence.PRESENT:
        return RuleHealth.OK
    if presence is DataPresence.NO_INCREASE:
        # A missing counter has counted nothing; but just after a start it may not exist yet.
        return RuleHealth.NO_DATA if is_startup and is_firing else RuleHealth.OK
    return RuleHealth.NO_DATA if had_data else RuleHealth.INACTIVE


@dataclass(frozen=True, slots=True)
class LastEvaluation:
    """The last evaluation of a rule."""

    health: RuleHealth = RuleHealth.UNKNOWN
    error: str = ""
    at: datetime | None = None
    seconds: float = 0.0


class RuleState:
    """A rule, and its last evaluation."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.last = LastEvaluation()
        self.series = recorded_series.recorded_metric_writer(rule.name) if isinstance(rule, RecordingRule) else None

    @property
    def key(self) -> str:
        """The key under which its alerts are stored; empty for a recording rule."""
        return self.rule.key if isinstance(self.rule, AlertRule) else ""


class GroupState:
    """A rule group, and its last evaluation."""

    def __init__(self, group: RuleGroup, default_interval: timedelta) -> None:
        self.group = group
        self.interval = group.interval or default_interval
        self.rules = [RuleState(rule) for rule in group.rules]
        self.at: datetime | None = None
        self.seconds = 0.0
        self.series = recorded_series.alerts_writer()

    def batches(self) -> Iterator[list[RuleState]]:
        """Return the rules in batches whose queries may run together: a recording rule ends a batch."""
        batch: list[RuleState] = []
        for rule in self.rules:
            batch.append(rule)
            if rule.series:
                yield batch
                batch = []
        yield batch

    def carry_over(self, before: "GroupState | None") -> "GroupState":
        """Return the state to continue with: the old one of an unchanged group, else this one with the old series."""
        if before is None:
            return self
        if (before.group, before.interval) == (self.group, self.interval):
            return before
        writers = {rule.rule.name: rule.series for rule in before.rules if rule.series}
        for rule in self.rules:
            if rule.series:
                rule.series = writers.pop(rule.rule.name, rule.series)
        self.series, self.at = before.series, before.at
        return self

    def series_writers(self) -> Iterator[recorded_series.SeriesWriter]:
        """Return the writers of its series."""
        yield self.series
        yield from (rule.series for rule in self.rules if rule.series)

    def is_late(self, now: datetime) -> bool:
        """Whether it was not evaluated for three intervals."""
        return self.at is not None and now - self.at > 3 * self.interval + timedelta(seconds=5)
