"""What is known of rules and alerts at one time, for whoever shows it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from toban.alerting.rule_file import Rule, RuleGroup
from toban.alerting.rule_lint import metrics_read
from toban.alerting.rule_state import LastEvaluation
from toban.core.alerts import Alert


@dataclass(frozen=True, slots=True)
class RuleReport:
    """A rule, how its last evaluation went, and its alerts: pending, firing, and lately resolved."""

    rule: Rule
    last: LastEvaluation
    alerts: Sequence[Alert] = ()

    def metrics(self) -> list[str]:
        """Return the metrics that its expression reads."""
        return metrics_read(self.rule.query.root)


@dataclass(frozen=True, slots=True)
class GroupReport:
    """A group of rules, and how its last evaluation went."""

    group: RuleGroup
    interval: timedelta
    last_evaluation: datetime | None
    duration: float
    """Seconds that the last evaluation took."""
    rules: Sequence[RuleReport]


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """All groups, and all alerts: what matters most first, resolved ones last."""

    groups: Sequence[GroupReport]
    alerts: Sequence[Alert]

    @property
    def rules(self) -> list[RuleReport]:
        """All rules."""
        return [rule for group in self.groups for rule in group.rules]
