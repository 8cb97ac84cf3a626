"""What toban finds wrong with itself, from memory: no number is asked for."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from toban.alerting.rule_state import GroupState, RuleHealth, RuleState
from toban.alerting.states import RuleResult
from toban.core.labels import Labels
from toban.core.ports import HealthStatus

NOT_JUDGED: Final = "rule_evaluation_failed"
UNWELL: Final = "toban_component_unhealthy"
KEYS: Final = (NOT_JUDGED, UNWELL)
"""The alerts that toban fires about itself; they are remembered under their names."""

HOLD: Final = timedelta(minutes=5)
"""How long trouble of toban's own must last before it fires an alert."""


def self_alerts(
    benches: Sequence[GroupState], conditions: Iterable[tuple[str, HealthStatus]], now: datetime
) -> dict[str, Mapping[Labels, RuleResult]]:
    """Return what is wrong with rules and with parts of toban, by the name of the alert."""
    return {NOT_JUDGED: _not_judged(benches, now), UNWELL: _unwell(conditions)}


def _not_judged(benches: Sequence[GroupState], now: datetime) -> dict[Labels, RuleResult]:
    found = {}
    for bench in benches:
        for seat in bench.rules:
            health = RuleHealth.LATE if bench.is_late(now) else seat.last.health
            if not health.is_ok:
                labels = Labels(alertname=NOT_JUDGED, rule=seat.rule.name, reason=health.value, severity="warning")
                found[labels] = RuleResult(1.0, _texts(seat, health))
    return found


def _unwell(conditions: Iterable[tuple[str, HealthStatus]]) -> dict[Labels, RuleResult]:
    return {
        Labels(alertname=UNWELL, part=name, severity="warning"): RuleResult(
            1.0,
            {
                "summary": f"toban itself is not well: {name}: {condition.message}",
                "summary_ja": f"toban 自身に異常があります: {name}: {condition.message}",
            },
        )
        for name, condition in conditions
        if not condition.ok
    }


def _texts(seat: RuleState, health: RuleHealth) -> dict[str, str]:
    reasons = {
        RuleHealth.NO_DATA: ("what it reads is no longer there", "読み取る値がなくなりました"),
        RuleHealth.FAILED: (f"its query fails: {seat.last.error}", f"クエリが失敗します: {seat.last.error}"),
        RuleHealth.LATE: ("it is not judged in time", "時間内に評価されていません"),
    }
    english, japanese = reasons[health]
    return {
        "summary": f"The rule {seat.rule.name} can't be judged: {english}",
        "summary_ja": f"ルール {seat.rule.name} を評価できません: {japanese}",
        "action": "While this lasts nobody knows whether all is well: see `toban alerts` and the target it reads.",
        "action_ja": "その間は正常かどうか誰にもわかりません。`toban alerts` と対象の状態を確認してください。",
    }
