"""
The rules of service levels, as the content of a Prometheus rule file.

The records have Sloth's names and labels, so that its dashboards show them. Unlike Sloth's, the share of a whole period
counts events: an error at night among two visitors does not weigh as much as one at noon among two thousand.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from fractions import Fraction
from math import ceil
from typing import Any, Final

from toban.core.config_types import format_duration
from toban.review.burn_rate import DAY, BurnWindow, arms
from toban.review.metric_families import (
    BUDGET,
    BURN,
    FAST_WINDOWS,
    INFO,
    LEFT,
    LOOKS,
    OBJECTIVE,
    OBSERVED,
    PERIOD,
    PERIOD_BURN,
    SHORTEST,
    SLOW_WINDOWS,
    TOTAL,
    bad,
    error_ratio,
)
from toban.review.service_level import LevelKind, ServiceLevel

FILE: Final = "slo of toban.yaml"
"""Where the rules are said to come from."""

SLOW_INTERVAL: Final = timedelta(minutes=2)
"""The interval of the long windows: shorter than the lookback delta, so that their series have no holes."""

Rule = Mapping[str, Any]


def rule_file(levels: Iterable[ServiceLevel]) -> dict[str, Any]:
    """Return the content of a rule file: two groups for each service level, one for the fast and the short windows."""
    groups: list[dict[str, Any]] = []
    for level in levels:
        groups += [
            {
                "name": f"slo {level.name}",
                "interval": format_duration(level.settings.interval),
                "rules": [
                    *_observations(level),
                    *(rule for window in FAST_WINDOWS for rule in _window(level, window)),
                    _record(level, TOTAL.name, level.total(SHORTEST)),
                    _alert(level, fast=True),
                ],
            },
            {
                "name": f"slo {level.name} slow",
                "interval": format_duration(SLOW_INTERVAL),
                "rules": [
                    *(rule for window in SLOW_WINDOWS for rule in _window(level, window)),
                    *_meta(level),
                    _alert(level, fast=False),
                ],
            },
        ]
    return {"groups": groups}


def alert_name(level: ServiceLevel, *, fast: bool) -> str:
    """Return the name of an alert of a service level."""
    return f"{level.name.replace('-', '_')}_budget_{'fast' if fast else 'slow'}"


def _record(level: ServiceLevel, name: str, expr: str, **labels: str) -> Rule:
    return {"record": name, "expr": expr, "labels": {**level.labels, **labels}}


def _observations(level: ServiceLevel) -> Sequence[Rule]:
    looks = [_record(level, LOOKS.name, level.look)] if level.kind is LevelKind.LOOKS else []
    return [_record(level, OBSERVED.name, level.observed), *looks]


def _window(level: ServiceLevel, window: timedelta) -> Sequence[Rule]:
    """Return the records of a window: its bad events, and their share unless it was blind for half of the time."""
    span = format_duration(window)
    expected = ceil(window / level.settings.interval / 2)
    seen = f"sum(count_over_time({level.series(OBSERVED.name)}[{span}])) >= {expected}"
    ratio = f"{level.bad(window)} / {level.total(window)} and {seen}"
    return [
        _record(level, bad(window), level.bad(window)),
        _record(level, error_ratio(window), ratio, sloth_window=span),
    ]


def _meta(level: ServiceLevel) -> Sequence[Rule]:
    """Return the records about the budget."""
    period = level.settings.period
    span = format_duration(period)
    sums = [f"sum(sum_over_time({level.series(metric)}[{span}]))" for metric in (bad(SHORTEST), TOTAL.name)]
    budget = f"max({level.series(BUDGET.name)})"
    return [
        _record(level, error_ratio(period), f"{sums[0]} / {sums[1]}", sloth_window=span),
        _record(level, OBJECTIVE.name, f"vector({_number(1 - level.budget)})"),
        _record(level, BUDGET.name, f"vector({_number(level.budget)})"),
        _record(level, PERIOD.name, f"vector({period / DAY:g})"),
        _record(level, BURN.name, f"max({level.series(error_ratio(SHORTEST))}) / {budget}"),
        _record(level, PERIOD_BURN.name, f"max({level.series(error_ratio(period))}) / {budget}"),
        _record(level, LEFT.name, f"1 - max({level.series(PERIOD_BURN.name)})"),
        _record(
            level,
            INFO.name,
            "vector(1)",
            sloth_mode="toban",
            sloth_objective=f"{level.settings.target:g}",
            sloth_spec="toban",
            sloth_version="1",
        ),
    ]


def _number(value: Fraction) -> str:
    return f"{float(value):.12g}"


def _arm(level: ServiceLevel, arm: BurnWindow) -> str:
    limit = f"({_number(arm.factor)} * {_number(level.budget)})"
    parts = [
        f"max({level.series(error_ratio(arm.short))} > {limit}) without (sloth_window)",
        f"max({level.series(error_ratio(arm.long))} > {limit}) without (sloth_window)",
        f"max({level.series(bad(arm.long))} >= {level.settings.min_bad}) without (sloth_window)",
    ]
    return f"({' and '.join(parts)})"


def _alert(level: ServiceLevel, *, fast: bool) -> Rule:
    used = arms(level.settings.target, level.settings.period, fast=fast)
    longest = format_duration(used[-1].long)
    period, share = format_duration(level.settings.period), _number(level.budget * 100)
    title = level.name
    how, how_ja = ("fast", "急速に") if fast else ("slowly", "徐々に")
    return {
        "alert": alert_name(level, fast=fast),
        "expr": " or ".join(_arm(level, it) for it in used),
        "labels": {"severity": "warning" if fast else "info", "priority": "P2" if fast else "P3", "slo": level.name},
        "annotations": {
            "summary": f"The error budget of {title} is spent {how}",
            "summary_ja": f"{title} のエラーバジェットが{how_ja}消費されています",
            "description": f"{{{{ $value | humanizePercentage }}}} are bad; {share} % may be, over {period}.",
            "description_ja": f"{{{{ $value | humanizePercentage }}}} が不良です。許容は {period} で {share} % です。",
            "value": "{{ $value | humanizePercentage }}",
            "limit": f"{share}%",
            "action": f"See `toban slo {title}`; what is wrong is in the alerts and deploys of the last {longest}.",
            "action_ja": f"`toban slo {title}` を確認し、直近 {longest} のアラートとデプロイを調べてください。",
        },
    }
