"""Reading rule files."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toban.alerting.groups import AlertRule, RecordingRule, read, together
from toban.alerting.loading import load, own_rules
from toban.alerting.settings import AlertingSettings
from toban.core.errors import SettingsError

RULES = """
groups:
- name: shop
  interval: 30s
  limit: 5
  labels: {team: shop}
  rules:
  - record: job:up:sum
    expr: sum by (job) (up)
  - alert: Down
    expr: up == 0
    for: 5m
    keep_firing_for: 10m
    labels: {severity: critical, level: 1}
    annotations: {summary: "{{ $labels.job }} is down"}
"""


def test_a_rule_file_is_read():
    """
    Group labels go to each rule; a number that YAML read is the text that was written.
    """
    (group,) = read(RULES, "rules.yaml")
    recording, alert = group.rules
    assert isinstance(recording, RecordingRule)
    assert isinstance(alert, AlertRule)
    assert (group.every, group.limit, recording.labels) == (timedelta(seconds=30), 5, {"team": "shop"})
    assert (alert.hold, alert.keep) == (timedelta(minutes=5), timedelta(minutes=10))
    assert {name: it.source for name, it in alert.labels.items()} == {
        "severity": "critical",
        "level": "1",
        "team": "shop",
    }


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("{alert: A, expr: 'up =='}", "rule 1 (A): expr: 1:6: parse error"),
        ("{expr: up}", "rule 1 (without a name): it must have either `alert` or `record`"),
        ("{alert: A, record: a, expr: up}", "it must have either `alert` or `record`"),
        ("{alert: A}", "rule 1 (A): expr: is missing"),
        ("{record: 'a b', expr: up}", "record: 'a b' is no metric name"),
        ("{record: a, expr: up, for: 5m}", "are for alerts, not for `record`"),
        ("{alert: A, expr: up, for: 5}", "groups[0].rules[0].for (A): 5 is no length of time"),
        ("{alert: A, expr: up, wait: 5m}", "groups[0].rules[0].wait (A): is no key of a rule file"),
        ("{alert: A, expr: up, labels: {alertname: x}}", "labels: 'alertname' can't be set"),
        ("{alert: A, expr: up, labels: {a-b: x}}", "labels: 'a-b' can't be set"),
        ("{alert: A, expr: up, labels: {v: '{{ $value }}'}}", "labels: v: a value would make it another alert"),
        ("{alert: A, expr: up, annotations: {s: '{{ nonsense }}'}}", "annotations: s: function 'nonsense'"),
        ("{alert: A, expr: up, annotations: {s: [1]}}", "is no text"),
    ],
)
def test_a_mistake_names_its_place(rule, said):
    """
    The file, the group, the rule and what is wrong with it.
    """
    with pytest.raises(SettingsError) as error:
        read(f"groups: [{{name: shop, rules: [{rule}]}}]", "mine.yaml")
    assert str(error.value).startswith("mine.yaml: ")
    assert said in str(error.value)


def test_every_mistake_is_named_at_once():
    """
    Nobody likes to be told one after the other.
    """
    with pytest.raises(SettingsError) as error:
        read("groups: [{name: a, rules: [{alert: A, expr: '('}, {alert: B, expr: ')'}]}, {name: a}]", "r.yaml")
    assert len(str(error.value).splitlines()) == 3


@given(st.text(alphabet="groups:[]{}- namealertexpr\n'\"&*!|>1", max_size=80))
def test_garbage_is_refused(text):
    """
    Or is a file without rules; nothing else ever comes out.
    """
    try:
        assert all(group.name for group in read(text, "r.yaml"))
    except SettingsError as error:
        assert str(error).startswith("r.yaml:")


def test_ones_own_rule_takes_the_place_of_a_shipped_one():
    """
    The others of its group stay.
    """
    own = read("groups: [{name: own, rules: [{alert: Down, expr: up < 1}]}]", "own.yaml")
    found = together(read(RULES, "shipped.yaml"), own)
    assert [(group.name, rule.name) for group in found for rule in group.rules] == [
        ("own", "Down"),
        ("shop", "job:up:sum"),
    ]


def test_own_files_are_found_by_pattern(tmp_path):
    """
    A pattern that finds nothing is a mistake: somebody meant something by it.
    """
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "shop.yaml").write_text(RULES)
    assert [group.name for group in own_rules([f"{tmp_path}/rules/*.yaml"])] == ["shop"]
    assert [group.name for group in own_rules([str(tmp_path / "rules/shop.yaml")])] == ["shop"]
    with pytest.raises(SettingsError, match=r"alerting.rules: '/nowhere/other.yaml': there is no such file"):
        own_rules(["/nowhere/other.yaml"])


def test_a_rule_that_is_left_out_must_exist():
    """
    Else a misspelt word would go unnoticed.
    """
    with pytest.raises(SettingsError, match=r"alerting.without: 'disk_usage' is no shipped rule"):
        load(AlertingSettings(without=("disk_usage",)))
