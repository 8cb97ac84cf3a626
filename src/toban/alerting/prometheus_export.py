"""Rules as files for a real Prometheus, and the configuration with which it judges them over toban's numbers."""

from collections.abc import Iterable, Mapping
from typing import Any

from toban.alerting.rule_file import AlertRule, Rule, RuleGroup
from toban.core.config_types import format_duration


def rule_file(groups: Iterable[RuleGroup]) -> dict[str, Any]:
    """Return groups of rules as a rule file holds them."""
    return {"groups": [_group(group) for group in groups if group.rules]}


def _group(group: RuleGroup) -> dict[str, Any]:
    parts = {
        "name": group.name,
        "interval": format_duration(group.interval) if group.interval else None,
        "limit": group.limit,
        "rules": [_rule(rule) for rule in group.rules],
    }
    return {key: value for key, value in parts.items() if value}


def _rule(rule: Rule) -> dict[str, Any]:
    if not isinstance(rule, AlertRule):
        return _kept({"record": rule.name, "expr": rule.query.text, "labels": dict(rule.labels)})
    return _kept(
        {
            "alert": rule.name,
            "expr": rule.query.text,
            "for": format_duration(rule.for_) if rule.for_ else None,
            "keep_firing_for": format_duration(rule.keep_firing_for) if rule.keep_firing_for else None,
            "labels": {name: text.source for name, text in rule.labels.items()},
            "annotations": {name: text.source for name, text in rule.annotations.items()},
        }
    )


def _kept(parts: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in parts.items() if value}


def prometheus(
    rule_files: Iterable[str], toban: str, alertmanager: str, every: str, elsewhere: Iterable[str], token: str = ""
) -> dict[str, Any]:
    """
    Return the configuration of a Prometheus that scrapes toban and judges these rules.

    ``elsewhere`` are the jobs whose numbers toban scraped itself and shows at ``/federate`` alone, as it does ``up``;
    ``token`` is the file that holds toban's token, where it wants one.
    """
    access = {"authorization": {"credentials_file": token}} if token else {}
    where = {"static_configs": [{"targets": [toban]}], "honor_labels": True, **access}
    chosen = ['{__name__="up"}', *(f'{{job="{job}"}}' for job in elsewhere)]
    return {
        "global": {"scrape_interval": "30s", "evaluation_interval": every},
        "rule_files": list(rule_files),
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
        "scrape_configs": [
            {"job_name": "toban", **where},
            {"job_name": "toban-federate", "metrics_path": "/federate", "params": {"match[]": chosen}, **where},
        ],
    }
