"""Rules and alerts as Prometheus' HTTP API tells of them: https://prometheus.io/docs/prometheus/latest/querying/api/#rules."""

from collections.abc import Sequence
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from toban.alerting.rule_file import AlertRule
from toban.alerting.rule_state import GroupState, RuleHealth, RuleState
from toban.alerting.service import EvaluationService
from toban.alerting.states import ActiveAlert
from toban.core.alerts import AlertStatus
from toban.web.endpoint import Endpoint, Permission
from toban.web.json_response import JsonResponse

_HEALTH = {RuleHealth.OK: "ok", RuleHealth.ASLEEP: "ok", RuleHealth.NO_DATA: "ok", RuleHealth.FAILED: "err"}
_ORDER = (AlertStatus.FIRING, AlertStatus.PENDING)


class PrometheusRulesApi:
    """Shows rules and what they fire."""

    def __init__(self, evaluating: EvaluationService) -> None:
        self._evaluating = evaluating

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [
            Endpoint("/api/v1/rules", self.rules, Permission.READ),
            Endpoint("/api/v1/alerts", self.alerts, Permission.READ),
        ]

    async def rules(self, request: Request) -> Response:
        """Answer all rules: by `type`, `rule_name[]`, `rule_group[]`, `file[]`; without alerts for `exclude_alerts`."""
        asked = request.query_params
        kind, without = asked.get("type", ""), asked.get("exclude_alerts", "") == "true"
        if kind not in {"", "alert", "record"}:
            said = f'not supported value "{kind}"'
            return JsonResponse(
                {"status": "error", "errorType": "bad_data", "error": f'invalid parameter "type": {said}'}, 400
            )
        names, groups, files = (asked.getlist(name) for name in ("rule_name[]", "rule_group[]", "file[]"))
        told = []
        for bench in self._evaluating.groups:
            if (groups and bench.group.name not in groups) or (files and bench.group.file not in files):
                continue
            seats = [
                seat
                for seat in bench.rules
                if (not names or seat.rule.name in names) and (not kind or (kind == "alert") is bool(seat.key))
            ]
            if seats or not (names or kind):
                told.append(self._group(bench, seats, without=without))
        return JsonResponse({"status": "success", "data": {"groups": told}})

    async def alerts(self, request: Request) -> Response:
        """Answer all alerts that are pending or fire."""
        standing = [it for _, it in self._evaluating.store.all()]
        return JsonResponse({"status": "success", "data": {"alerts": _alerts(standing)}})

    def _group(self, bench: GroupState, seats: Sequence[RuleState], *, without: bool) -> dict[str, Any]:
        return {
            "name": bench.group.name,
            "file": bench.group.file,
            "interval": bench.interval.total_seconds(),
            "limit": bench.group.limit,
            "evaluationTime": bench.seconds,
            "lastEvaluation": _time(bench.at),
            "rules": [self._rule(seat, without=without) for seat in seats],
        }

    def _rule(self, seat: RuleState, *, without: bool) -> dict[str, Any]:
        rule = seat.rule
        told: dict[str, Any] = {
            "name": rule.name,
            "query": rule.query.text,
            "health": _HEALTH.get(seat.last.health, "unknown"),
            "evaluationTime": seat.last.seconds,
            "lastEvaluation": _time(seat.last.at),
        }
        if seat.last.error:
            told["lastError"] = seat.last.error
        if not isinstance(rule, AlertRule):
            return {**told, "labels": dict(rule.labels), "type": "recording"}
        standing = list(self._evaluating.store.of(rule.key).values())
        states = {it.alert.status for it in standing}
        return {
            **told,
            "state": next((state.value for state in _ORDER if state in states), "inactive"),
            "duration": rule.for_.total_seconds(),
            "keepFiringFor": rule.keep_firing_for.total_seconds(),
            "labels": {name: text.source for name, text in rule.labels.items()},
            "annotations": {name: text.source for name, text in rule.annotations.items()},
            "alerts": [] if without else _alerts(standing),
            "type": "alerting",
        }


def _alerts(standing: Sequence[ActiveAlert]) -> list[dict[str, Any]]:
    found = [it.alert for it in standing if it.alert.status is not AlertStatus.RESOLVED]
    found.sort(key=lambda alert: (alert.starts, alert.fingerprint))
    return [
        {
            "labels": dict(alert.labels),
            "annotations": dict(alert.annotations),
            "state": alert.status.value,
            "activeAt": _time(alert.starts),
            "value": "" if alert.value is None else _exponent(alert.value),
        }
        for alert in found
    ]


def _exponent(value: float) -> str:
    """Write a number as Go's ``%e`` with as few digits as tell it apart: ``0e+00``."""
    if value != value or value in (float("inf"), float("-inf")):
        return "NaN" if value != value else "+Inf" if value > 0 else "-Inf"
    digits, _, power = next(
        text for precision in range(18) if float(text := f"{value:.{precision}e}") == value
    ).partition("e")
    return f"{digits}e{power}"


def _time(at: Any) -> str:
    return at.isoformat().replace("+00:00", "Z") if at else "0001-01-01T00:00:00Z"
