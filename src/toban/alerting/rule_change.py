"""Rules with another limit or another `for`."""

import re
from dataclasses import replace
from typing import Final

from toban.alerting.promql_query import PromqlQuery, parse_promql
from toban.alerting.rule_file import AlertRule
from toban.alerting.templating.template import Template
from toban.core.errors import InvalidCommandError
from toban.core.ports import Comparison
from toban.core.replay import RuleChange

NUMBER: Final = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?(?:e[+-]?[0-9]{1,3})?")
OPERATORS: Final = frozenset({">", ">=", "<", "<="})


def limit_of(rule: AlertRule) -> Comparison | None:
    """
    Return the comparison with the limit of a rule: the only one of its query whose right side is a number.

    None where there is none, or several: which of them is the limit would be a guess.
    """
    found = [it for it in rule.query.comparisons() if it.operator in OPERATORS and NUMBER.fullmatch(it.right)]
    # `> bool` has a result also where it is not met.
    is_single = len(found) == 1 and len(rule.query.comparisons()) == 1 and " bool " not in rule.query.text
    return found[0] if is_single else None


def changed_rule(rule: AlertRule, change: RuleChange) -> AlertRule:
    """Return a rule with another limit or `for`. Raises ``InvalidCommandError`` where it has no single limit."""
    if change.for_ is not None:
        rule = replace(rule, for_=change.for_)
    if change.limit is None:
        return rule
    comparison = limit_of(rule)
    if comparison is None or not isinstance(rule.query, PromqlQuery):
        raise InvalidCommandError(f"{rule.name} has no single comparison with a number", "limit")
    if "limit" in rule.annotations:
        # Its text says the old one, perhaps in another unit.
        rule = replace(rule, annotations={**rule.annotations, "limit": Template(f"{change.limit:.15g}")})
    return replace(rule, query=parse_promql(f"{comparison.left} {comparison.operator} {change.limit:.15g}"))
