"""What a replay of rules takes: the alerting rules, and the recording rules that they read."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Final

from toban.alerting.promql_query import PromqlQuery
from toban.alerting.replay import ReplayedRecord, ReplayedRule
from toban.alerting.rule_engines import RuleEngineName
from toban.alerting.rule_file import AlertRule, RecordingRule, RuleGroup
from toban.core.errors import InvalidCommandError
from toban.promql.syntax_tree import Anchor, Selector, Subquery, metric_of, selectors, walk

MOST_EVALUATIONS: Final = 600_000
"""How often a rule is evaluated in a replay at most: 104 days at 15 seconds."""


def alerts_of(groups: Sequence[RuleGroup], default_interval: timedelta, name: str = "") -> list[ReplayedRule]:
    """
    Return the alerting rules of some groups, of one name if one is given.

    Raises ``InvalidCommandError`` where they can't be replayed.
    """
    found = []
    for group in groups:
        for rule in group.alerts:
            if name and rule.name != name:
                continue
            if group.engine is not RuleEngineName.EMBEDDED:
                raise InvalidCommandError(f"{rule.name} can't be replayed: `engine: {group.engine}`", "rule")
            _check(rule)
            bare = replace(rule, annotations={})
            found.append(ReplayedRule(bare, group.interval or default_interval, group.limit))
    return found


def records_of(
    groups: Sequence[RuleGroup], alerts: Sequence[ReplayedRule], default_interval: timedelta
) -> list[ReplayedRecord]:
    """
    Return the recording rules of some groups that alerts read, each after those that it reads itself.

    Raises ``InvalidCommandError`` where one reads its own series: a replay in slices would not see them.
    """
    by_name: dict[str, list[ReplayedRecord]] = {}
    for group in groups:
        if group.engine is RuleEngineName.EMBEDDED:
            for rule in group.rules:
                if isinstance(rule, RecordingRule):
                    record = ReplayedRecord(rule, group.interval or default_interval)
                    by_name.setdefault(rule.name, []).append(record)
    ordered: list[ReplayedRecord] = []
    for alert in alerts:
        _visit(_reads(alert.rule, by_name), by_name, ordered, ())
    return ordered


def _visit(
    names: Sequence[str],
    by_name: Mapping[str, Sequence[ReplayedRecord]],
    ordered: list[ReplayedRecord],
    path: tuple[str, ...],
) -> None:
    for name in names:
        if name in path:
            raise InvalidCommandError(f"{name} reads its own series: it can't be replayed", "rule")
        for record in by_name[name]:
            if record not in ordered:
                _check(record.rule)
                _visit(_reads(record.rule, by_name), by_name, ordered, (*path, name))
                ordered.append(record)


def _reads(rule: AlertRule | RecordingRule, by_name: Mapping[str, Sequence[ReplayedRecord]]) -> list[str]:
    """Return the recorded metrics that a rule reads; all of them where it does not select by name."""
    if not isinstance(rule.query, PromqlQuery):
        return []
    names = [metric_of(it) for it in selectors(rule.query.root)]
    return list(by_name) if "" in names else [it for it in dict.fromkeys(names) if it in by_name]


def _check(rule: AlertRule | RecordingRule) -> None:
    if isinstance(rule.query, PromqlQuery):
        for node in walk(rule.query.root):
            if isinstance(node, Selector | Subquery) and isinstance(node.at, Anchor):
                raise InvalidCommandError(f"{rule.name} can't be replayed: it reads `@ {node.at}()`", "rule")
