"""Rules and alerts in Prometheus' HTTP API: https://prometheus.io/docs/prometheus/latest/querying/api/#rules."""

from collections.abc import Iterable, Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from toban.access.permissions import Permission
from toban.alerting.report import GroupReport, RuleReport
from toban.alerting.rule_file import AlertRule
from toban.alerting.rule_state import RuleHealth
from toban.alerting.service import EvaluationService
from toban.core.alerts import Alert, AlertStatus
from toban.web.endpoint import Endpoint
from toban.web.json_response import JsonResponse

_HEALTH = {RuleHealth.OK: "ok", RuleHealth.INACTIVE: "ok", RuleHealth.NO_DATA: "ok", RuleHealth.FAILED: "err"}
_ORDER = (AlertStatus.FIRING, AlertStatus.PENDING)


class PrometheusRulesApi:
    """Shows rules and their alerts."""

    def __init__(self, evaluation: EvaluationService) -> None:
        self._evaluation = evaluation

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [
            Endpoint("/api/v1/rules", self.rules, Permission.READ),
            Endpoint("/api/v1/alerts", self.alerts, Permission.READ),
        ]

    async def rules(self, request: Request) -> Response:
        """Return rules: by `type`, `rule_name[]`, `rule_group[]`, `file[]`; without alerts for `exclude_alerts`."""
        query = request.query_params
        kind, exclude_alerts = query.get("type", ""), query.get("exclude_alerts", "") == "true"
        if kind not in {"", "alert", "record"}:
            error = f'invalid parameter "type": not supported value "{kind}"'
            return JsonResponse({"status": "error", "errorType": "bad_data", "error": error}, 400)
        names, groups, files = (query.getlist(name) for name in ("rule_name[]", "rule_group[]", "file[]"))
        shown = []
        for group in self._evaluation.report().groups:
            if (groups and group.group.name not in groups) or (files and group.group.file not in files):
                continue
            rules = [
                rule
                for rule in group.rules
                if (not names or rule.rule.name in names)
                and (not kind or (kind == "alert") is isinstance(rule.rule, AlertRule))
            ]
            if rules or not (names or kind):
                shown.append(_group(group, rules, exclude_alerts=exclude_alerts))
        return JsonResponse({"status": "success", "data": {"groups": shown}})

    async def alerts(self, request: Request) -> Response:
        """Return all alerts that are pending or firing."""
        return JsonResponse({"status": "success", "data": {"alerts": _alerts(self._evaluation.report().alerts)}})


def _group(group: GroupReport, rules: Sequence[RuleReport], *, exclude_alerts: bool) -> dict[str, Any]:
    return {
        "name": group.group.name,
        "file": group.group.file,
        "interval": group.interval.total_seconds(),
        "limit": group.group.limit,
        "evaluationTime": group.duration,
        "lastEvaluation": _time(group.last_evaluation),
        "rules": [_rule(rule, exclude_alerts=exclude_alerts) for rule in rules],
    }


def _rule(report: RuleReport, *, exclude_alerts: bool) -> dict[str, Any]:
    rule = report.rule
    shown: dict[str, Any] = {
        "name": rule.name,
        "query": rule.query.text,
        "health": _HEALTH.get(report.last.health, "unknown"),
        "evaluationTime": report.last.seconds,
        "lastEvaluation": _time(report.last.at),
    }
    if report.last.error:
        shown["lastError"] = report.last.error
    if not isinstance(rule, AlertRule):
        return {**shown, "labels": dict(rule.labels), "type": "recording"}
    states = {alert.status for alert in report.alerts}
    return {
        **shown,
        "state": next((state.value for state in _ORDER if state in states), "inactive"),
        "duration": rule.for_.total_seconds(),
        "keepFiringFor": rule.keep_firing_for.total_seconds(),
        "labels": {name: text.source for name, text in rule.labels.items()},
        "annotations": {name: text.source for name, text in rule.annotations.items()},
        "alerts": [] if exclude_alerts else _alerts(report.alerts),
        "type": "alerting",
    }


def _alerts(alerts: Iterable[Alert]) -> list[dict[str, Any]]:
    active = [alert for alert in alerts if alert.status is not AlertStatus.RESOLVED]
    active.sort(key=lambda alert: (alert.starts, alert.fingerprint))
    return [
        {
            "labels": dict(alert.labels),
            "annotations": dict(alert.annotations),
            "state": alert.status.value,
            "activeAt": _time(alert.starts),
            "value": "" if alert.value is None else _exponent(alert.value),
        }
        for alert in active
    ]


def _exponent(value: float) -> str:
    """Write a number as Go's ``%e`` with as few digits as identify it: ``0e+00``."""
    if value != value or value in (float("inf"), float("-inf")):
        return "NaN" if value != value else "+Inf" if value > 0 else "-Inf"
    digits, _, power = next(
        text for precision in range(18) if float(text := f"{value:.{precision}e}") == value
    ).partition("e")
    return f"{digits}e{power}"


def _time(at: Any) -> str:
    return at.isoformat().replace("+00:00", "Z") if at else "0001-01-01T00:00:00Z"
