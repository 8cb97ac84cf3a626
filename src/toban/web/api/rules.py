"""Rules in toban's own API: what they ask, how their last evaluation went, and their alerts."""

from collections import Counter
from datetime import datetime

from toban.access.permissions import Permission
from toban.alerting.report import RuleReport
from toban.alerting.rule_engines import RuleEngineName
from toban.alerting.rule_file import AlertRule
from toban.alerting.rule_state import RuleHealth
from toban.alerting.service import EvaluationService
from toban.core.actor import Actor
from toban.core.alerts import AlertStatus
from toban.core.config_types import format_duration
from toban.core.message_catalogue import LANGUAGES
from toban.web.api.api_endpoint import ApiEndpoint, NoParameters, ResponseModel
from toban.web.endpoint import Endpoint


class RuleStatusModel(ResponseModel):
    """A rule, and its last evaluation."""

    name: str
    kind: str
    """`alert` or `record`."""
    expr: str
    duration: str
    """How long the expression must be met before the rule fires."""
    severity: str
    """Empty for a recording rule."""
    summary: str
    """The template of its summary."""
    summaries: dict[str, str]
    """The template of its summary by language, where it has some."""
    metrics: list[str]
    """The metrics that its expression reads, or the selectors of log lines."""
    log_queries: list[str]
    """Queries for the log lines that it counts; none where it reads metrics."""
    health: RuleHealth
    error: str
    last_evaluation: datetime | None
    seconds: float
    """How long its last evaluation took."""
    firing: int
    pending: int


class RuleGroupModel(ResponseModel):
    """A rule group."""

    name: str
    file: str
    engine: RuleEngineName
    """What evaluates its expressions."""
    interval: float
    """Seconds."""
    last_evaluation: datetime | None
    seconds: float
    """How long its last evaluation took."""
    rules: list[RuleStatusModel]


class RulesResponse(ResponseModel):
    """All rule groups."""

    groups: list[RuleGroupModel]


class RulesApi:
    """Shows rules."""

    def __init__(self, evaluation: EvaluationService) -> None:
        self._evaluation = evaluation

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [ApiEndpoint("/api/rules", self.rules, Permission.READ, NoParameters, RulesResponse)]

    async def rules(self, _: NoParameters, actor: Actor) -> RulesResponse:
        """Return all rules, by group."""
        return RulesResponse(
            groups=[
                RuleGroupModel(
                    name=it.group.name,
                    file=it.group.file,
                    engine=it.group.engine,
                    interval=it.interval.total_seconds(),
                    last_evaluation=it.last_evaluation,
                    seconds=it.duration,
                    rules=[_rule(rule) for rule in it.rules],
                )
                for it in self._evaluation.report().groups
            ]
        )


def _rule(report: RuleReport) -> RuleStatusModel:
    rule, last = report.rule, report.last
    alerting = rule if isinstance(rule, AlertRule) else None
    many = Counter(alert.status for alert in report.alerts)
    annotations = alerting.annotations if alerting else {}
    summary = annotations.get("summary")
    return RuleStatusModel(
        name=rule.name,
        kind="alert" if alerting else "record",
        expr=rule.query.text,
        duration=format_duration(alerting.for_) if alerting else "",
        severity=alerting.severity if alerting else "",
        summary=summary.source if summary else "",
        summaries={it: found.source for it in LANGUAGES if (found := annotations.get(f"summary_{it}"))},
        metrics=list(report.metrics()),
        log_queries=list(rule.query.log_queries()),
        health=last.health,
        error=last.error,
        last_evaluation=last.at,
        seconds=last.seconds,
        firing=many[AlertStatus.FIRING],
        pending=many[AlertStatus.PENDING],
    )
