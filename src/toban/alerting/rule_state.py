"""The state of rules and groups: how their evaluations went."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from toban.alerting import recorded_series
from toban.alerting.rule_file import AlertRule, RecordingRule, Rule, RuleGroup


class RuleHealth(StrEnum):
    """The health of a rule; the first three are healthy."""

    UNKNOWN = "unknown"
    """It has not been evaluated yet."""
    OK = "ok"
    INACTIVE = "inactive"
    """It has never had data: its source is not configured, or nothing of the kind has happened."""
    NO_DATA = "no data"
    """Its data is missing: it has had some before."""
    FAILED = "err"
    """Its query fails."""
    LATE = "late"
    """It was not evaluated in time."""

    @property
    def is_ok(self) -> bool:
        """Whether nothing is wrong with it."""
        return self in {RuleHealth.UNKNOWN, RuleHealth.OK, RuleHealth.INACTIVE}


@dataclass(frozen=True, slots=True)
class LastEvaluation:
    """How the last evaluation of a rule went."""

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
    """A group of rules, and its last evaluation."""

    def __init__(self, group: RuleGroup, every: timedelta) -> None:
        self.group = group
        self.interval = group.interval or every
        self.rules = [RuleState(rule) for rule in group.rules]
        self.at: datetime | None = None
        self.seconds = 0.0
        self.series = recorded_series.alerts_writer()

    def batches(self) -> Iterator[list[RuleState]]:
        """Return the rules in batches whose queries may run together: a recording rule ends a batch."""
        run: list[RuleState] = []
        for rule in self.rules:
            run.append(rule)
            if rule.series:
                yield run
                run = []
        yield run

    def carry_over(self, before: "GroupState | None") -> "GroupState":
        """Return the state that continues a group: the old one where nothing changed, else this one with its series."""
        if before is None:
            return self
        if (before.group, before.interval) == (self.group, self.interval):
            return before
        there = {rule.rule.name: rule.series for rule in before.rules if rule.series}
        for rule in self.rules:
            if rule.series:
                rule.series = there.pop(rule.rule.name, rule.series)
        self.series, self.at = before.series, before.at
        return self

    def series_writers(self) -> Iterator[recorded_series.SeriesWriter]:
        """Return the writers of its series."""
        yield self.series
        yield from (rule.series for rule in self.rules if rule.series)

    def is_late(self, now: datetime) -> bool:
        """Whether it was not evaluated for three intervals."""
        return self.at is not None and now - self.at > 3 * self.interval + timedelta(seconds=5)
