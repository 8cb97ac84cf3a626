"""Other limits of rules, by the settings."""

from datetime import timedelta

import pytest

from toban.alerting.rule_change import changed_rule, limit_of
from toban.alerting.rule_file import parse_rule_file
from toban.alerting.rule_loader import load_groups
from toban.core.errors import InvalidCommandError, SettingsError
from toban.core.replay import RuleChange
from toban.settings import build_settings


def rules_of(**overrides):
    settings = build_settings({"alerting": {"overrides": overrides}}, {}, "toban.yaml")
    return {rule.name: rule for group in load_groups(settings.alerting) for rule in group.rules}


def rule_of(expr):
    (group,) = parse_rule_file(f"groups: [{{name: a, rules: [{{alert: b, expr: '{expr}', for: 5m}}]}}]", "rules.yaml")
    return group.rules[0]


def test_a_shipped_rule_has_another_limit_and_for():
    """
    Its annotation says the new limit; other rules stay as they are, and its alerts are kept.
    """
    before, after = rules_of(), rules_of(disk_usage_high={"limit": "0.925", "for": "20m"})
    one, other = before["disk_usage_high"], after["disk_usage_high"]
    assert (limit_of(one).right, limit_of(other).right) == ("0.85", "0.925")
    assert other.annotations["limit"].source == "0.925"
    assert (other.for_, other.key) == (timedelta(minutes=20), one.key)
    assert {name for name in before if before[name] != after[name]} == {"disk_usage_high"}


@pytest.mark.parametrize(
    ("expr", "limit"),
    [
        ("load > 5", "5"),
        ("sum by (job) (rate(x[5m])) / 2 >= 1e3", "1000"),
        ("free < -0.5", "-0.5"),
        ("load > 5 and up == 1", None),
        ("load > bool 5", None),
        ("load > limit", None),
        ("load == 5", None),
        ("absent(load)", None),
    ],
)
def test_the_limit_of_a_rule_is_its_only_comparison_with_a_number(expr, limit):
    found = limit_of(rule_of(expr))
    assert (found.right if found else None) == limit
    if limit is None:
        with pytest.raises(InvalidCommandError, match="no single comparison"):
            changed_rule(rule_of(expr), RuleChange(7))
    else:
        assert limit_of(changed_rule(rule_of(expr), RuleChange(7.25))).right == "7.25"
    assert changed_rule(rule_of(expr), RuleChange(for_=timedelta())).for_ == timedelta()


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"disk_usage_hihg": {"limit": "9"}}, "unknown rule 'disk_usage_hihg': did you mean disk_usage_high?"),
        ({"high_response_time": {"limit": "9"}}, "no single comparison with a number: write a rule of your own"),
        ({"disk_usage_high": {"limit": "much"}}, "alerting.overrides.disk_usage_high.limit: must be a number"),
        ({"disk_usage_high": {"limit": "inf"}}, "must be a finite number"),
    ],
)
def test_what_can_not_be_overridden_is_refused(overrides, message):
    with pytest.raises(SettingsError) as raised:
        rules_of(**overrides)
    assert message in str(raised.value)
