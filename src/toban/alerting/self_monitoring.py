"""Alerts about toban itself, from memory: without a query."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from toban.alerting.rule_state import GroupState, RuleHealth, RuleState
from toban.alerting.states import RuleResult
from toban.core.labels import Labels
from toban.core.ports import HealthStatus

EVALUATION_FAILED: Final = "rule_evaluation_failed"
COMPONENT_UNHEALTHY: Final = "toban_component_unhealthy"
KEYS: Final = (EVALUATION_FAILED, COMPONENT_UNHEALTHY)
"""The alerts about toban itself; they are stored under their names."""

PENDING_PERIOD: Final = timedelta(minutes=5)
"""The ``for`` of these alerts."""


def self_alerts(
    groups: Sequence[GroupState], statuses: Iterable[tuple[str, HealthStatus]], now: datetime
) -> dict[str, Mapping[Labels, RuleResult]]:
    """Return rules that can't be evaluated and unhealthy components of toban, by the name of the alert."""
    return {EVALUATION_FAILED: _failed_rules(groups, now), COMPONENT_UNHEALTHY: _unhealthy(statuses)}


def _failed_rules(groups: Sequence[GroupState], now: datetime) -> dict[Labels, RuleResult]:
    found = {}
    for group in groups:
        for rule in group.rules:
            health = RuleHealth.LATE if group.is_late(now) else rule.last.health
            if not health.is_ok:
                labels = Labels(
                    alertname=EVALUATION_FAILED, rule=rule.rule.name, reason=health.value, severity="warning"
                )
                found[labels] = RuleResult(1.0, _annotations(rule, health))
    return found


def _unhealthy(statuses: Iterable[tuple[str, HealthStatus]]) -> dict[Labels, RuleResult]:
    return {
        Labels(alertname=COMPONENT_UNHEALTHY, part=name, severity="warning"): RuleResult(
            1.0,
            {
                "summary": f"toban itself is unhealthy: {name}: {status.message}",
                "summary_ja": f"toban 自身に異常があります: {name}: {status.message}",
            },
        )
        for name, status in statuses
        if not status.ok
    }


def _annotations(rule: RuleState, health: RuleHealth) -> dict[str, str]:
    reasons = {
        RuleHealth.NO_DATA: ("its data is missing", "データがなくなりました"),
        RuleHealth.FAILED: (f"its query fails: {rule.last.error}", f"クエリが失敗します: {rule.last.error}"),
        RuleHealth.LATE: ("it is not evaluated in time", "時間内に評価されていません"),
    }
    english, japanese = reasons[health]
    return {
        "summary": f"The rule {rule.rule.name} can't be evaluated: {english}",
        "summary_ja": f"ルール {rule.rule.name} を評価できません: {japanese}",
        "action": "Until then it can't fire: check `toban alerts`, and the target whose metrics it reads.",
        "action_ja": "その間このルールは発報できません。`toban alerts` と対象ターゲットの状態を確認してください。",
    }
