"""Alerting rules as a provisioning file for Grafana, which evaluates them on toban's metrics."""

import hashlib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

from toban.alerting.prometheus_export import not_exported
from toban.alerting.rule_file import AlertRule, RuleGroup
from toban.alerting.templating.template import Template
from toban.core.config_types import format_duration

TICK: Final = timedelta(seconds=10)
"""Grafana evaluates at multiples of this."""

UID_LENGTH: Final = 40

_MISSING_FUNCTION: Final = re.compile(r"\{\{[^}]*\b(query|first|strvalue|sortByLabel)\b")
"""An action with a function that Grafana's templates don't have."""


@dataclass(frozen=True, slots=True)
class GrafanaRules:
    """The content of a provisioning file, before `$` is doubled in it, and what is not in it."""

    content: dict[str, Any]
    lost: list[str] = field(default_factory=list)


def alert_rules(
    groups: Iterable[RuleGroup], evaluation_interval: timedelta, folder: str, datasource: str
) -> GrafanaRules:
    """
    Return alerting rules as the provisioning file of Grafana's alerting.

    Recording rules, and rules that read log lines, are toban's to evaluate.
    ``folder`` is the folder in Grafana, ``datasource`` the uid of the data source that has toban's metrics.
    """
    titles: dict[str, int] = {}
    names: dict[str, int] = {}
    groups = list(groups)
    lost = not_exported(groups)
    found = []
    for group in groups:
        if not group.engine.reads_metrics:
            continue
        rules = []
        for rule in group.alerts:
            annotations, missing = _annotations(rule)
            lost += [f"annotation {name} of {rule.name}: Grafana has no function `{what}`" for name, what in missing]
            rules.append(_alert_rule(rule, _unique(rule.name, titles), annotations, datasource))
        if rules:
            interval = TICK * math.ceil((group.interval or evaluation_interval) / TICK)
            name = _unique(group.name, names)
            found.append(
                {"orgId": 1, "name": name, "folder": folder, "interval": format_duration(interval), "rules": rules}
            )
    return GrafanaRules({"apiVersion": 1, "groups": found}, lost)


def _alert_rule(rule: AlertRule, title: str, annotations: Mapping[str, str], datasource: str) -> dict[str, Any]:
    uid = f"toban-{title}"
    if len(uid) > UID_LENGTH or not re.fullmatch(r"[\w-]+", uid, re.ASCII):
        uid = f"toban-{hashlib.sha256(title.encode()).hexdigest()[:32]}"
    return {
        "uid": uid,
        "title": title,
        "condition": "C",
        "for": format_duration(rule.for_) if rule.for_ else "0s",
        "noDataState": "OK",
        "execErrState": "Error",
        "labels": {name: _text(template) for name, template in rule.labels.items()},
        "annotations": annotations,
        "data": [
            {
                "refId": "A",
                "datasourceUid": datasource,
                "relativeTimeRange": {"from": 600, "to": 0},
                "model": {"refId": "A", "expr": rule.query.text, "instant": True, "range": False},
            },
            {
                "refId": "C",
                "datasourceUid": "__expr__",
                "relativeTimeRange": {"from": 0, "to": 0},
                "model": {
                    "refId": "C",
                    "type": "math",
                    # What a rule's expression returns fires, whatever its value.
                    "expression": "is_number($A) || is_inf($A) || is_nan($A)",
                    "datasource": {"type": "__expr__", "uid": "__expr__"},
                },
            },
        ],
    }


def _annotations(rule: AlertRule) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Return the annotations, and the names of those that Grafana can't expand with the function that it lacks."""
    kept, missing = {}, []
    for name, template in rule.annotations.items():
        if unknown := _MISSING_FUNCTION.search(template.source):
            missing.append((name, unknown[1]))
        else:
            kept[name] = _text(template)
    return kept, missing


def _unique(name: str, taken: dict[str, int]) -> str:
    """Return a name that was not returned before: in a folder of Grafana it may be there only once."""
    taken[name] = taken.get(name, 0) + 1
    return name if taken[name] == 1 else _unique(f"{name} {taken[name]}", taken)


def _text(template: Template) -> str:
    """Return the source of a template: Grafana's ``$value`` is a text, the number is `$values.A.Value`."""
    return template.source.replace("$value", "$values.A.Value")
