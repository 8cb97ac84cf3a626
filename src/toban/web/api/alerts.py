"""Alerts in toban's own API: what fires, why somebody was or wasn't notified, acknowledgements, tests and drills."""

import difflib
from collections.abc import Awaitable, Callable, Sequence

from toban.access.permissions import Permission
from toban.alerting.acknowledge_commands import AcknowledgeCommands
from toban.alerting.rule_state import RuleHealth
from toban.alerting.service import EvaluationService
from toban.core.actor import Actor
from toban.core.errors import NotFoundError
from toban.core.ports import Clock
from toban.notify.channel_commands import ChannelCommands
from toban.notify.drill import DrillService
from toban.notify.report import ChannelReport, StageReport
from toban.notify.service import NotificationService
from toban.web.api.api_endpoint import ApiEndpoint, NoParameters
from toban.web.api.models import (
    AcknowledgeRequest,
    AcknowledgeResponse,
    AlertModel,
    AlertsResponse,
    ChannelModel,
    ChannelTestRequest,
    ChannelTestResponse,
    DrillResponse,
    ExplainedAlert,
    InactiveRule,
    RecipientModel,
    RuleFailure,
    RuleModel,
    StageModel,
    WhyRequest,
    WhyResponse,
)
from toban.web.endpoint import Endpoint


class AlertsApi:
    """Shows alerts, and forwards commands on them."""

    def __init__(
        self,
        evaluation: EvaluationService,
        notifications: NotificationService,
        history: Callable[[str], Awaitable[Sequence[StageReport]]],
        acknowledgements: AcknowledgeCommands,
        channels: ChannelCommands,
        drills: DrillService,
        clock: Clock,
    ) -> None:
        """``history`` returns what the stages of the pipeline decided about an alert, by its fingerprint."""
        self._evaluation = evaluation
        self._notifications = notifications
        self._history = history
        self._acknowledgements = acknowledgements
        self._channels = channels
        self._drills = drills
        self._clock = clock

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        path, read, act = "/api/alerts", Permission.READ, Permission.ACT
        return [
            ApiEndpoint(path, self.alerts, read, NoParameters, AlertsResponse),
            ApiEndpoint(f"{path}/why", self.why, read, WhyRequest, WhyResponse),
            ApiEndpoint(
                f"{path}/acknowledge", self.acknowledge, act, AcknowledgeRequest, AcknowledgeResponse, method="POST"
            ),
            ApiEndpoint(f"{path}/test", self.send_test, act, ChannelTestRequest, ChannelTestResponse, method="POST"),
            ApiEndpoint(f"{path}/drill", self.drill, act, NoParameters, DrillResponse, method="POST"),
        ]

    async def alerts(self, _: NoParameters, actor: Actor) -> AlertsResponse:
        """Return all alerts, the rules that are inactive or can't be evaluated, and the channels."""
        evaluation, notifications = self._evaluation.report(), self._notifications.report()
        suppressed = notifications.suppressed()
        inactive = [rule for rule in evaluation.rules if rule.last.health is RuleHealth.INACTIVE]
        return AlertsResponse(
            at=self._clock.now(),
            alerts=[AlertModel.of(it, suppressed.get(it.fingerprint, ())) for it in evaluation.alerts],
            inactive_rules=[
                InactiveRule(rule=it.rule.name, metrics=list(it.metrics()))
                for it in sorted(inactive, key=lambda rule: rule.rule.name)
            ],
            rule_errors=[
                RuleFailure(rule=it.rule.name, health=it.last.health, error=it.last.error)
                for it in evaluation.rules
                if not it.last.health.is_ok
            ],
            channels=[_channel(it) for it in notifications.channels],
        )

    async def acknowledge(self, request: AcknowledgeRequest, actor: Actor) -> AcknowledgeResponse:
        """Acknowledge firing alerts, or take that back."""
        if request.undo:
            count = await self._acknowledgements.unacknowledge(request.alert, actor)
        else:
            count = await self._acknowledgements.acknowledge(request.alert, actor, request.by, request.comment)
        return AcknowledgeResponse(acknowledged=count)

    async def why(self, request: WhyRequest, actor: Actor) -> WhyResponse:
        """Explain why somebody was or wasn't notified of an alert, stage by stage, and what its rule's data is now."""
        evaluation, notifications = self._evaluation.report(), self._notifications.report()
        # Those of evaluation are newer: notifications learn of each change a moment later.
        known = notifications.alerts() | {it.fingerprint: it for it in evaluation.alerts}
        found = [it for it in known.values() if request.alert in (it.name, it.fingerprint)]
        rules = await self._evaluation.explain(request.alert)
        if not found and not rules:
            names = sorted({it.rule.name for it in evaluation.rules})
            similar = difflib.get_close_matches(request.alert, names, 1)
            remedy = f"did you mean {similar[0]!r}?" if similar else "`toban rules list` shows the rules"
            raise NotFoundError(f"no alert and no rule {request.alert[:100]!r}: {remedy}")
        suppressed = notifications.suppressed()
        explained = []
        for alert in found:
            stages = [StageModel.model_validate(it) for it in await self._history(alert.fingerprint)]
            explained.append(ExplainedAlert.explained(alert, suppressed.get(alert.fingerprint, ()), stages))
        return WhyResponse(alerts=explained, rules=[RuleModel.model_validate(it) for it in rules])

    async def send_test(self, request: ChannelTestRequest, actor: Actor) -> ChannelTestResponse:
        """Send a test notification through a channel, on the path that alerts take."""
        key = await self._channels.send_test(request.channel, actor)
        return ChannelTestResponse(key=key, channel=request.channel)

    async def drill(self, _: NoParameters, actor: Actor) -> DrillResponse:
        """Start a drill: an alert fires on purpose, and its notification must reach the channels."""
        await self._drills.start(actor)
        return DrillResponse(channels=list(self._drills.channels))


def _channel(report: ChannelReport) -> ChannelModel:
    recipients = [
        RecipientModel(name=it.name, error=it.message, since=it.since, permanent=it.permanent)
        for it in report.recipients
    ]
    return ChannelModel(
        name=report.name, kind=report.kind, waiting=report.waiting, error=report.error, recipients=recipients
    )
