"""Alerts in the console: the list, and one alert with its value, its history and its messages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from toban.access.permissions import Permission
from toban.alerting.rule_engines import RuleEngineName, RuleEnginePair
from toban.core.actor import Actor
from toban.core.alerts import AlertStatus
from toban.core.errors import NotFoundError, TobanError
from toban.core.matcher_syntax import parse_matchers
from toban.core.matchers import Matcher, MatchOperator, matches_all
from toban.core.ports import Clock, QueryEngine
from toban.core.samples import milliseconds, moment
from toban.web.api.alerts import AlertsApi
from toban.web.api.api_endpoint import NoParameters
from toban.web.api.models import AcknowledgeRequest, AlertModel, ExplainedAlert, RuleModel, WhyRequest
from toban.web.endpoint import Endpoint, actor
from toban.web.pages.charts import ThresholdChart
from toban.web.pages.forms import FormEndpoint, FormState
from toban.web.pages.preferences import local_path
from toban.web.pages.rendering import page
from toban.web.pages.value_chart import value_chart

STATES: Final = ("all", "firing", "pending", "acknowledged", "suppressed", "resolved")
"""The states to choose from; ``all`` is without what is resolved."""

GROUPINGS: Final = ("", "alertname", "severity", "job", "instance")
"""The labels by which alerts can be grouped."""

LOGS_BEFORE: Final = timedelta(minutes=5)

CHART_BEFORE: Final = timedelta(hours=1)
"""How long before an alert began its chart begins."""

HISTORY: Final = timedelta(days=30)
HISTORY_STEP: Final = timedelta(minutes=15)


@dataclass(frozen=True, slots=True)
class Occurrence:
    """A time in which an alert fired, to a quarter of an hour."""

    begin: datetime
    end: datetime


class AlertsPages:
    """
    Shows alerts, and forwards acknowledgements.

    ``engine`` has the history of alerts, ``rule_engines`` the values that they are about.
    """

    def __init__(
        self,
        api: AlertsApi,
        engine: QueryEngine,
        rule_engines: Mapping[RuleEngineName, RuleEnginePair],
        clock: Clock,
    ) -> None:
        self._api = api
        self._engine = engine
        self._rule_engines = rule_engines
        self._clock = clock

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [
            Endpoint("/alerts", self.index, Permission.READ),
            Endpoint("/alerts/{fingerprint}", self.show, Permission.READ),
            FormEndpoint(
                "/alerts/acknowledge",
                self._api.acknowledge,
                AcknowledgeRequest,
                lambda fields: {
                    "alert": fields.get("alert", ""),
                    "comment": fields.get("comment", ""),
                    "undo": "undo" in fields,
                },
                lambda _, fields: local_path(fields.get("back", "/alerts")),
                self._refused,
            ),
        ]

    async def index(self, request: Request) -> Response:
        """Show all alerts, or those of a state that match some matchers."""
        query = request.query_params
        state, text, by = query.get("state", STATES[0]), query.get("filter", ""), query.get("group", "")
        found = await self._api.alerts(NoParameters(), actor(request))
        error = ""
        matchers: Sequence[Matcher] = ()
        try:
            matchers = parse_matchers([text]) if text.strip() else ()
        except ValueError as invalid:
            error = str(invalid)
        alerts = [it for it in found.alerts if _has_state(it, state) and matches_all(matchers, it.labels)]
        return page(
            request,
            "alerts.html",
            groups=_grouped(alerts, by if by in GROUPINGS else ""),
            many=len(alerts),
            counts={name: sum(_has_state(it, name) for it in found.alerts) for name in STATES},
            states=STATES,
            state=state,
            groupings=GROUPINGS,
            grouping=by,
            filter=text,
            error=error,
            rule_errors=found.rule_errors,
        )

    async def show(self, request: Request, form: FormState | None = None) -> Response:
        """Show one alert."""
        who = actor(request)
        try:
            why = await self._api.why(WhyRequest(alert=request.path_params["fingerprint"]), who)
        except (NotFoundError, ValueError):
            return page(request, "alert_over.html", 404)
        if not why.alerts:
            return page(request, "alert_over.html", 404)
        alert = why.alerts[0]
        rules = [it for it in await self._rules(alert.name, who) if it.severity == alert.severity]
        rule = rules[0] if rules else None
        return page(
            request,
            "alert.html",
            form.status if form else 200,
            alert=alert,
            rule=rule,
            chart=await self._chart(alert, rule) if rule else None,
            occurrences=await self._occurrences(alert),
            form=form or FormState(),
            silence_matchers=_exact_matchers(alert),
            logs=_logs_link(alert, rule),
        )

    async def _refused(self, request: Request, form: FormState) -> Response:
        """Show the alert whose acknowledgement was refused."""
        request.path_params["fingerprint"] = form.fields.get("alert", "")
        return await self.show(request, form)

    async def _rules(self, name: str, who: Actor) -> Sequence[RuleModel]:
        try:
            return (await self._api.why(WhyRequest(alert=name), who)).rules
        except NotFoundError:  # an alert from outside has no rule here
            return ()

    async def _chart(self, alert: ExplainedAlert, rule: RuleModel) -> ThresholdChart | None:
        """Return the chart of the value that the alert is about, with its limit."""
        end = alert.ends or self._clock.now()
        start = alert.starts - max(CHART_BEFORE, (end - alert.starts) / 4)
        return await value_chart(self._rule_engines, rule, alert.labels, start, end, alert.starts)

    async def _occurrences(self, alert: ExplainedAlert) -> Sequence[Occurrence]:
        """Return when the alert fired before and ended, newest first."""
        now = self._clock.now()
        step = HISTORY_STEP // timedelta(milliseconds=1)
        end = milliseconds(now) // step * step
        selector = f'{_exact_matchers(alert)}, alertstate="firing"'
        expression = f"count(last_over_time(ALERTS{{{selector}}}[{HISTORY_STEP // timedelta(minutes=1)}m]))"
        try:
            result = await self._engine.range(expression, end - HISTORY // timedelta(milliseconds=1), end, step)
        except TobanError:
            return ()
        runs = list(result.series[0].runs(step)) if result.series else []
        ended = [Occurrence(moment(first - step), moment(last)) for first, last in runs if last < end]
        return ended[::-1][:20]


def _has_state(alert: AlertModel, state: str) -> bool:
    if state == "acknowledged":
        return alert.acknowledged is not None
    if state == "suppressed":
        return bool(alert.suppressed)
    if state in set(AlertStatus):
        return alert.status == state
    return alert.status is not AlertStatus.RESOLVED


def _grouped(alerts: Sequence[AlertModel], label: str) -> list[tuple[str, list[AlertModel]]]:
    """Return alerts by the value of a label, in their order; one group without a name where none is chosen."""
    found: dict[str, list[AlertModel]] = {}
    for alert in alerts:
        found.setdefault(alert.labels.get(label, "") if label else "", []).append(alert)
    return list(found.items())


def _exact_matchers(alert: AlertModel) -> str:
    """Return the matchers of a silence of this alert alone."""
    return ", ".join(str(Matcher(name, MatchOperator.EQUAL, value)) for name, value in sorted(alert.labels.items()))


def _logs_link(alert: ExplainedAlert, rule: RuleModel | None) -> str:
    """
    Return the address of the log lines of an alert's time, of the service and context that it is about.

    They are those that its rule counts, or else warnings and errors.
    """
    found, before = {"level": "warn"}, LOGS_BEFORE
    if rule and rule.log_queries:
        found, before = {"query": rule.log_queries[0]}, max(before, timedelta(seconds=rule.window))
    selected = {name: value for name in ("service", "context") if (value := alert.labels.get(name))}
    end = alert.ends.isoformat() if alert.ends else "now"
    begin = (alert.starts - before).isoformat()
    return f"/logs?{urlencode({'from': begin, 'to': end, **found, **selected})}"
