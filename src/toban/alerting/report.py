"""Rules and alerts at one time: the read model of evaluation."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from toban.alerting.rule_file import Rule, RuleGroup
from toban.alerting.rule_state import LastEvaluation
from toban.core.alerts import Alert


@dataclass(frozen=True, slots=True)
class RuleReport:
    """A rule, its last evaluation, and its alerts: pending, firing, and recently resolved."""

    rule: Rule
    last: LastEvaluation
    alerts: Sequence[Alert] = ()

    def metrics(self) -> Sequence[str]:
        """Return the metrics that its expression reads, or the selectors of log lines."""
        return self.rule.query.reads()


@dataclass(frozen=True, slots=True)
class GroupReport:
    """A rule group, and its last evaluation."""

    group: RuleGroup
    interval: timedelta
    last_evaluation: datetime | None
    duration: float
    """Seconds that the last evaluation took."""
    rules: Sequence[RuleReport]


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """All groups, and all alerts: by priority and age, resolved ones last."""

    groups: Sequence[GroupReport]
    alerts: Sequence[Alert]

    @property
    def rules(self) -> list[RuleReport]:
        """All rules."""
        return [rule for group in self.groups for rule in group.rules]
