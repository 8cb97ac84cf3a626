"""Requests and responses of toban's own API."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any, Self

from pydantic import AfterValidator, Field, StringConstraints

from toban.alerting.rule_engines import RuleEngineName
from toban.alerting.rule_state import RuleHealth
from toban.core import input_limits
from toban.core.alerts import Alert, AlertStatus, priority
from toban.core.config_types import Duration
from toban.core.input_limits import Timestamp, checked_text
from toban.notify.silences import Silence
from toban.web.api.api_endpoint import RequestModel, ResponseModel


def _storable(text: str) -> str:
    return checked_text(text, len(text))


Text = Annotated[str, AfterValidator(_storable)]
"""A text that can be stored: without NUL and halves of surrogate pairs."""

Name = Annotated[Text, StringConstraints(min_length=1, max_length=input_limits.PERSON_LENGTH)]
OptionalName = Annotated[Text, StringConstraints(max_length=input_limits.PERSON_LENGTH)]
Comment = Annotated[Text, StringConstraints(max_length=input_limits.COMMENT_LENGTH)]
AlertName = Annotated[Text, StringConstraints(min_length=1, max_length=input_limits.LABEL_VALUE_LENGTH)]
MatcherText = Annotated[Text, StringConstraints(min_length=1, max_length=input_limits.LABEL_VALUE_LENGTH)]


class AcknowledgementModel(ResponseModel):
    """An acknowledgement."""

    by: str
    at: datetime
    comment: str


class AlertModel(ResponseModel):
    """An alert."""

    name: str
    fingerprint: str
    """The hash of its labels by which Prometheus and Alertmanager identify it."""
    status: AlertStatus
    severity: str
    priority: str
    """P1 to P4."""
    labels: dict[str, str]
    annotations: dict[str, str]
    starts: datetime
    """Since when its expression is met."""
    fired: datetime | None
    ends: datetime | None
    value: str | None
    """The value of its expression, as Prometheus writes it: JSON has no NaN."""
    source: str
    """Where it was evaluated: `toban`, or who posted it."""
    link: str
    acknowledged: AcknowledgementModel | None
    suppressed: list[str]
    """Why nobody is notified of it; empty where somebody is."""

    @classmethod
    def of(cls, alert: Alert, suppressed: Sequence[str] = ()) -> Self:
        """Return the model of an alert."""
        return cls(**_alert_fields(alert, suppressed))


def _alert_fields(alert: Alert, suppressed: Sequence[str]) -> dict[str, Any]:
    acknowledged = alert.acknowledged
    return {
        "name": alert.name,
        "fingerprint": alert.fingerprint,
        "status": alert.status,
        "severity": alert.severity,
        "priority": priority(alert.labels),
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "starts": alert.starts,
        "fired": alert.fired,
        "ends": alert.ends,
        "value": None if alert.value is None else repr(alert.value),
        "source": alert.source,
        "link": alert.link,
        "acknowledged": AcknowledgementModel.model_validate(acknowledged) if acknowledged else None,
        "suppressed": list(suppressed),
    }


class InactiveRule(ResponseModel):
    """A rule that has never had data: its source is not configured, or nothing of the kind has happened."""

    rule: str
    metrics: list[str]
    """The metrics that it reads, or the selectors of log lines."""


class RuleFailure(ResponseModel):
    """A rule that can't be evaluated."""

    rule: str
    health: RuleHealth
    error: str


class RecipientModel(ResponseModel):
    """A recipient that a channel refused."""

    name: str
    error: str
    since: datetime
    permanent: bool


class ChannelModel(ResponseModel):
    """A notification channel."""

    name: str
    kind: str
    waiting: int
    """Notifications that wait to be delivered."""
    error: str
    recipients: list[RecipientModel]
    """The recipients that it refused."""


class AlertsResponse(ResponseModel):
    """All alerts, the rules that are not evaluated, and the channels."""

    at: datetime
    alerts: list[AlertModel]
    inactive_rules: list[InactiveRule]
    rule_errors: list[RuleFailure]
    channels: list[ChannelModel]


class AcknowledgeRequest(RequestModel):
    """Which alert is acknowledged."""

    alert: AlertName
    """Its name or fingerprint; a name acknowledges all firing alerts that have it."""
    by: OptionalName = ""
    """The name that is shown; without it, that of the actor. The audit log has the actor."""
    comment: Comment = ""
    undo: bool = False
    """Take the acknowledgement back."""


class AcknowledgeResponse(ResponseModel):
    """How many alerts were changed."""

    acknowledged: int


class WhyRequest(RequestModel):
    """What is explained."""

    alert: AlertName
    """The name or fingerprint of an alert, or the name of a rule."""


class StageModel(ResponseModel):
    """What a stage of the notification pipeline decided."""

    at: datetime
    stage: str
    reason: str


class ExplainedAlert(AlertModel):
    """An alert, and the stages that decided about its notifications, oldest first."""

    stages: list[StageModel]

    @classmethod
    def explained(cls, alert: Alert, suppressed: Sequence[str], stages: Sequence[StageModel]) -> Self:
        """Return the model of an alert with its stages."""
        return cls(**_alert_fields(alert, suppressed), stages=list(stages))


class SeriesValueModel(ResponseModel):
    """A series and its value."""

    labels: dict[str, str]
    value: str


class ExpressionValueModel(ResponseModel):
    """The first series of a result and how many there are, or why there is none."""

    series: list[SeriesValueModel]
    total: int
    error: str


class ComparisonModel(ResponseModel):
    """A comparison in an expression, and the values of its sides now."""

    left: str
    operator: str
    right: str
    value: ExpressionValueModel
    limit: ExpressionValueModel


class SelectorModel(ResponseModel):
    """A selector in an expression, and how many series it has now."""

    selector: str
    series: int
    error: str


class RuleModel(ResponseModel):
    """A rule, and what its expression comes to now."""

    rule: str
    group: str
    file: str
    engine: RuleEngineName
    """What evaluates its expression."""
    expr: str
    duration: str
    """How long the expression must be met before the rule fires."""
    severity: str
    limit: str
    health: RuleHealth
    error: str
    last_evaluation: datetime | None
    comparisons: list[ComparisonModel]
    selectors: list[SelectorModel]
    window: float
    """Seconds of the shortest range that it reads."""
    log_queries: list[str]
    """Queries for the log lines that it counts; none where it reads metrics."""


class WhyResponse(ResponseModel):
    """The alerts and rules of a name."""

    alerts: list[ExplainedAlert]
    rules: list[RuleModel]


class ChannelTestRequest(RequestModel):
    """Which channel is tested."""

    channel: Name


class ChannelTestResponse(ResponseModel):
    """The test notification that was queued."""

    key: str
    channel: str


class DrillResponse(ResponseModel):
    """The channels that the drill must reach."""

    channels: list[str]


class CreateSilenceRequest(RequestModel):
    """A silence: it begins now, and ends after a `duration` or at a time."""

    matchers: Annotated[list[MatcherText], Field(min_length=1, max_length=input_limits.MATCHERS)]
    """Which alerts are silenced: those whose labels match all of them. Like `severity="critical"`."""
    duration: Duration = timedelta(hours=1)
    ends: Timestamp | None = None
    """When it ends, with a time zone; then `duration` does not count."""
    created_by: OptionalName = ""
    """The name that is shown; without it, that of the actor. The audit log has the actor."""
    comment: Annotated[Comment, StringConstraints(min_length=1)]


class ExtendSilenceRequest(RequestModel):
    """Which silence ends later."""

    id: Name
    duration: Duration
    """How long it lasts from now on."""


class ExpireSilenceRequest(RequestModel):
    """Which silence expires."""

    id: Name


class SilenceModel(ResponseModel):
    """A silence."""

    id: str
    state: str
    """`pending`, `active` or `expired`."""
    matchers: list[str]
    starts: datetime
    ends: datetime
    updated: datetime
    created_by: str
    comment: str

    @classmethod
    def of(cls, silence: Silence, now: datetime) -> Self:
        """Return the model of a silence."""
        return cls(
            id=silence.id,
            state="active" if silence.active(now) else "pending" if now < silence.starts else "expired",
            matchers=[str(matcher) for matcher in silence.matchers],
            starts=silence.starts,
            ends=silence.ends,
            updated=silence.updated,
            created_by=silence.by,
            comment=silence.comment,
        )


class SilencesResponse(ResponseModel):
    """All silences, those that expired lately included."""

    silences: list[SilenceModel]


class ExpireSilenceResponse(ResponseModel):
    """The silence that expired."""

    id: str


class QuarantinedRowModel(ResponseModel):
    """A row of state that can't be read."""

    id: int
    at: datetime
    source: str
    """The table or file it was in."""
    key: str
    content: str
    error: str


class QuarantineResponse(ResponseModel):
    """The newest rows in quarantine."""

    rows: list[QuarantinedRowModel]
    message: str
    """How many rows there are, and which items are skipped because processing them fails."""


class DeleteRowRequest(RequestModel):
    """Which row is deleted for good."""

    id: Annotated[int, Field(ge=1, le=2**63 - 1)]


class DeleteRowResponse(ResponseModel):
    """The row that was deleted."""

    id: int


class EventsResponse(ResponseModel):
    """How many events were counted."""

    accepted: int
    repeated: int
    """Events that were known by their id or `Idempotency-Key`, and not counted again."""
