"""Rules as files for a real Prometheus, and the configuration with which it evaluates them on toban's metrics."""

from collections.abc import Iterable, Mapping
from typing import Any

from toban.alerting.rule_file import AlertRule, Rule, RuleGroup
from toban.core.config_types import format_duration


def rule_file(groups: Iterable[RuleGroup]) -> dict[str, Any]:
    """Return the content of a rule file with these groups; those that read log lines are left out."""
    return {"groups": [_group(group) for group in groups if group.rules and group.engine.reads_metrics]}


def not_exported(groups: Iterable[RuleGroup]) -> list[str]:
    """Return the rules that no program without toban's log lines can evaluate, each with the reason."""
    return [
        f"{rule.name}: it reads toban's log lines (`engine: {group.engine}`)"
        for group in groups
        if not group.engine.reads_metrics
        for rule in group.rules
    ]


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
        return _non_empty({"record": rule.name, "expr": rule.query.text, "labels": dict(rule.labels)})
    return _non_empty(
        {
            "alert": rule.name,
            "expr": rule.query.text,
            "for": format_duration(rule.for_) if rule.for_ else None,
            "keep_firing_for": format_duration(rule.keep_firing_for) if rule.keep_firing_for else None,
            "labels": {name: text.source for name, text in rule.labels.items()},
            "annotations": {name: text.source for name, text in rule.annotations.items()},
        }
    )


def _non_empty(parts: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in parts.items() if value}


def prometheus(
    rule_files: Iterable[str],
    toban: str,
    alertmanager: str,
    evaluation_interval: str,
    federated_jobs: Iterable[str],
    token_file: str = "",
) -> dict[str, Any]:
    """
    Return the configuration of a Prometheus that scrapes toban and evaluates these rules.

    ``federated_jobs`` are the jobs that toban scrapes itself: their series, like ``up``, are at ``/federate`` only.
    ``token_file`` is the file with toban's token, if it has one.
    """
    authorization = {"authorization": {"credentials_file": token_file}} if token_file else {}
    target = {"static_configs": [{"targets": [toban]}], "honor_labels": True, **authorization}
    matches = ['{__name__="up"}', *(f'{{job="{job}"}}' for job in federated_jobs)]
    return {
        "global": {"scrape_interval": "30s", "evaluation_interval": evaluation_interval},
        "rule_files": list(rule_files),
        "alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]},
        "scrape_configs": [
            {"job_name": "toban", **target},
            {"job_name": "toban-federate", "metrics_path": "/federate", "params": {"match[]": matches}, **target},
        ],
    }
