"""Loads rules: those that toban ships, and the user's own files."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from importlib.resources import files

from toban.alerting.promql_query import PROMQL_PARSERS, QueryParser
from toban.alerting.rule_change import changed_rule
from toban.alerting.rule_engines import RuleEngineName
from toban.alerting.rule_file import AlertRule, Rule, RuleGroup, merge_groups, parse_rule_file
from toban.alerting.settings import AlertingSettings, RuleOverride
from toban.core.errors import InvalidCommandError, SettingsError
from toban.core.paths import matching_files, read_text
from toban.core.replay import RuleChange


def load_groups(
    settings: AlertingSettings, parsers: Mapping[RuleEngineName, QueryParser] = PROMQL_PARSERS
) -> list[RuleGroup]:
    """
    Return all rule groups; ``parsers`` are those of the queries, by the engine of their group.

    Raises ``SettingsError`` that names every mistake.
    """
    mistakes: list[str] = []
    own: list[RuleGroup] = []
    try:
        own = load_rule_files(settings.rules, parsers)
    except SettingsError as error:
        mistakes.append(str(error))
    shipped = shipped_groups() if settings.shipped else ()
    known = [rule.name for group in shipped for rule in group.rules]
    for name in settings.without:
        if settings.shipped and name not in known:
            near = difflib.get_close_matches(name, known, 1)
            remedy = f"did you mean {near[0]}?" if near else f"shipped are {', '.join(sorted(known))}"
            mistakes.append(f"alerting.without: unknown rule {name!r}: {remedy}")
    if mistakes:
        raise SettingsError("\n".join(mistakes))
    return _overridden(merge_groups(_without(shipped, settings.without), own), settings.overrides)


@cache
def shipped_groups() -> tuple[RuleGroup, ...]:
    """Return the rules that toban ships."""
    rules = files("toban.alerting").joinpath("rules")
    names = sorted(it.name for it in rules.iterdir() if it.name.endswith(".yaml"))
    return tuple(
        group for name in names for group in parse_rule_file(rules.joinpath(name).read_text(encoding="utf-8"), name)
    )


def load_rule_files(
    patterns: Iterable[str], parsers: Mapping[RuleEngineName, QueryParser] = PROMQL_PARSERS
) -> list[RuleGroup]:
    """Return the rules of these files. Raises ``SettingsError`` that names every file that is missing or invalid."""
    groups: list[RuleGroup] = []
    mistakes: list[str] = []
    for pattern in patterns:
        try:
            paths = matching_files(pattern, "alerting.rules")
        except SettingsError as error:
            mistakes.append(str(error))
            continue
        for path in paths:
            try:
                groups += parse_rule_file(read_text(path), str(path), parsers)
            except SettingsError as error:
                mistakes.append(str(error))
    if mistakes:
        raise SettingsError("\n".join(mistakes))
    return groups


def _without(groups: Sequence[RuleGroup], names: Sequence[str]) -> list[RuleGroup]:
    return [replace(it, rules=tuple(rule for rule in it.rules if rule.name not in names)) for it in groups]


def _overridden(groups: Sequence[RuleGroup], overrides: Mapping[str, RuleOverride]) -> list[RuleGroup]:
    """Return rules with the limits of the settings. Raises ``SettingsError`` for rules that can't have them."""
    known = [rule.name for group in groups for rule in group.alerts]
    mistakes = []
    for name in overrides:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            mistakes.append(
                f"alerting.overrides: unknown rule {name!r}" + (f": did you mean {near[0]}?" if near else "")
            )

    def overridden(rule: Rule) -> Rule:
        if not isinstance(rule, AlertRule) or rule.name not in overrides:
            return rule
        override = overrides[rule.name]
        try:
            return changed_rule(rule, RuleChange(override.limit, override.for_))
        except InvalidCommandError as error:
            mistakes.append(f"alerting.overrides.{error}: write a rule of your own with this name")
            return rule

    found = [replace(it, rules=tuple(map(overridden, it.rules))) for it in groups]
    if mistakes:
        raise SettingsError("\n".join(mistakes))
    return found
