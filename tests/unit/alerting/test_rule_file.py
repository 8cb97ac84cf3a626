"""Reading rule files."""

import shutil
import subprocess
from datetime import timedelta

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.needs import need
from toban.alerting import rule_loader
from toban.alerting.rule_engines import RuleEngineName
from toban.alerting.rule_file import AlertRule, RecordingRule, merge_groups, parse_rule_file
from toban.alerting.rule_loader import load_groups, load_rule_files
from toban.alerting.rule_unit_tests import run
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
    (group,) = parse_rule_file(RULES, "rules.yaml")
    recording, alert = group.rules
    assert isinstance(recording, RecordingRule)
    assert isinstance(alert, AlertRule)
    assert (group.interval, group.limit, recording.labels) == (timedelta(seconds=30), 5, {"team": "shop"})
    assert (alert.for_, alert.keep_firing_for) == (timedelta(minutes=5), timedelta(minutes=10))
    assert {name: it.source for name, it in alert.labels.items()} == {
        "severity": "critical",
        "level": "1",
        "team": "shop",
    }


@pytest.mark.parametrize(
    ("rule", "accepted"),
    [
        ("{alert: A, expr: 'up =='}", "rule 1 (A): expr: 1:6: parse error"),
        ("{expr: up}", "rule 1 (without a name): it must have either `alert` or `record`"),
        ("{alert: A, record: a, expr: up}", "it must have either `alert` or `record`"),
        ("{alert: A}", "rule 1 (A): expr: is missing"),
        ("{record: a, expr: up, for: 5m}", "are for alerts, not for `record`"),
        ("{alert: A, expr: up, for: 5}", "groups[0].rules[0].for (A): invalid duration '5'"),
        ("{alert: A, expr: up, group_wait: 5m}", "groups[0].rules[0].group_wait (A): is not a key of a rule file"),
        ("{alert: A, expr: up, labels: {__name__: x}}", "labels: invalid label name '__name__'"),
        ("{alert: A, expr: up, labels: {'': x}}", "labels: invalid label name ''"),
        ("{alert: A, expr: up, alert: B}", "line 1: duplicate key 'alert'"),
        ("{alert: A, expr: up, labels: [a]}", "labels (A): must be names with values"),
        ("{alert: A, expr: up, annotations: {s: '{{ nonsense }}'}}", "annotations: s: function 'nonsense'"),
        ("{alert: A, expr: up, annotations: {s: [1]}}", "is not a string"),
    ],
)
def test_an_error_names_file_group_and_rule(rule, accepted):
    """
    The file, the group, the rule and what is wrong with it.
    """
    with pytest.raises(SettingsError) as error:
        parse_rule_file(f"groups: [{{name: shop, rules: [{rule}]}}]", "mine.yaml")
    assert str(error.value).startswith("mine.yaml: ")
    assert accepted in str(error.value)


def test_all_errors_are_reported_at_once():
    """
    Nobody likes to be told one after the other.
    """
    with pytest.raises(SettingsError) as error:
        parse_rule_file(
            "groups: [{name: a, rules: [{alert: A, expr: '('}, {alert: B, expr: ')'}]}, {name: a}]", "r.yaml"
        )
    assert len(str(error.value).splitlines()) == 3


TAKEN = {
    "a name that is a number": "groups: [{name: 2024, rules: [{alert: 404, expr: up == 0}]}]",
    "an expression that is a number": "groups: [{name: g, rules: [{record: one, expr: 1}]}]",
    "zero days": "groups: [{name: g, rules: [{alert: A, expr: up, for: 0d}]}]",
    "zero hours": "groups: [{name: g, rules: [{alert: A, expr: up, for: 0h, keep_firing_for: 0ms}]}]",
    "zero": "groups: [{name: g, rules: [{alert: A, expr: up, for: 0}]}]",
    "zero among others": "groups: [{name: g, rules: [{alert: A, expr: up, for: 1h0m0s}]}]",
    "words that other readers take for truths": (
        "groups: [{name: g, rules: [{alert: A, expr: up, labels: {on: yes, off: no, d: 2024-01-01}}]}]"
    ),
    "nothing": "groups: [{name: g, interval: , rules: [{alert: A, expr: up, for: , labels: , annotations: ~}]}]",
    "no rules": "groups: [{name: g, rules: }]",
    "no groups": "groups:",
    "an empty file": "",
    "a merged mapping": (
        "groups:\n- name: g\n  rules:\n  - {alert: A, expr: up, labels: &l {a: b}}\n"
        "  - {alert: B, expr: up, labels: {<<: *l, c: d}}\n"
    ),
    "a group that is nothing": "groups: [~]",
    "a rule that is nothing": "groups: [{name: g, rules: [~]}]",
    "a byte order mark": "\ufeffgroups: [{name: g, rules: [{alert: A, expr: up}]}]",
    "a value in a label": "groups: [{name: g, rules: [{alert: A, expr: up, labels: {s: '{{ $value }}'}}]}]",
    "the name of the alert as a label": "groups: [{name: g, rules: [{alert: A, expr: up, labels: {alertname: x}}]}]",
}
REFUSED = {
    "groups twice": "groups: [{name: a}]\ngroups: [{name: b}]",
    "a label twice": "groups: [{name: g, rules: [{alert: A, expr: up, labels: {s: a, s: b}}]}]",
    "units in disorder": "groups: [{name: g, rules: [{alert: A, expr: up, for: 5m1h}]}]",
    "half an hour": "groups: [{name: g, rules: [{alert: A, expr: up, for: 1.5h}]}]",
    "seconds without a unit": "groups: [{name: g, rules: [{alert: A, expr: up, for: 300}]}]",
    "a group without a name": "groups: [{rules: [{alert: A, expr: up}]}]",
    "an unknown key without a value": "groups: [{name: g, tenants: }]",
    "a list of labels": "groups: [{name: g, rules: [{alert: A, expr: up, labels: [a]}]}]",
    "a tab": "groups:\n\t- name: g",
}


@pytest.mark.parametrize("what", TAKEN)
def test_rule_files_that_prometheus_accepts_are_accepted(what):
    """
    See the test with promtool for whether it does.
    """
    parse_rule_file(TAKEN[what], "r.yaml")


@pytest.mark.parametrize("what", REFUSED)
def test_rule_files_that_prometheus_rejects_are_rejected(what):
    """
    With the file's name.
    """
    with pytest.raises(SettingsError, match=r"^r.yaml: "):
        parse_rule_file(REFUSED[what], "r.yaml")


def test_promtool_accepts_and_rejects_the_same_rule_files(tmp_path):
    """
    Prometheus is the judge of what a rule file is.
    """
    promtool = need("promtool", shutil.which("promtool"))
    accepted = {}
    for what, text in {**TAKEN, **REFUSED}.items():
        (tmp_path / "r.yaml").write_text(text)
        done = subprocess.run([promtool, "check", "rules", "r.yaml"], cwd=tmp_path, capture_output=True, check=False)
        accepted[what] = done.returncode == 0

    assert accepted == dict.fromkeys(TAKEN, True) | dict.fromkeys(REFUSED, False)


WRITTEN = {
    "country": "no",
    "on_duty": "yes",
    "zip": "0123",
    "version": "1.10",
    "window": "12:30:45",
    "big": "1e3",
    "hex": "0x1F",
    "under": "1_000",
    "truth": "True",
    "endless": ".inf",
    "day": "2024-01-01",
}
SCALARS = "{" + ", ".join(f"{name}: {value}" for name, value in WRITTEN.items()) + ", none: ~}"


def test_scalars_are_read_as_they_are_written(tmp_path):
    """
    To promtool, too; a label that is nothing is none.
    """
    rules = f"groups: [{{name: g, rules: [{{alert: A, expr: m == 0, labels: {SCALARS}}}]}}]"
    [group] = parse_rule_file(rules, "r.yaml")
    [rule] = group.rules
    assert {name: it.source for name, it in rule.labels.items()} == {**WRITTEN, "none": ""}

    test = {"interval": "1m", "input_series": [{"series": "m", "values": "0 0"}]}
    expected = {"eval_time": "1m", "alertname": "A", "exp_alerts": [{"exp_labels": WRITTEN}]}
    test_file = {"rule_files": ["r.yaml"], "tests": [{**test, "alert_rule_test": [expected]}]}
    (tmp_path / "r.yaml").write_text(rules)
    (tmp_path / "t.yaml").write_text(yaml.safe_dump(test_file))
    promtool = need("promtool", shutil.which("promtool"))
    done = subprocess.run([promtool, "test", "rules", "t.yaml"], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, run(tmp_path / "t.yaml")) == (0, []), done.stdout


def test_a_kubernetes_resource_is_rejected_with_the_remedy():
    """
    In one line that says what to do.
    """
    text = "{apiVersion: monitoring.coreos.com/v1, kind: PrometheusRule, metadata: {name: x}, spec: {groups: []}}"
    with pytest.raises(SettingsError, match=r"^r.yaml: this is a Kubernetes resource: .* its `spec`$"):
        parse_rule_file(text, "r.yaml")


def test_names_in_any_script_are_accepted():
    """
    As Prometheus 3 takes them.
    """
    text = "groups: [{name: g, rules: [{alert: A, expr: up, labels: {service.name: x}, annotations: {メモ: y}}]}]"
    assert [
        rule.labels["service.name"].source for group in parse_rule_file(text, "r.yaml") for rule in group.rules
    ] == ["x"]
    assert parse_rule_file("groups: [{name: g, rules: [{record: shop.orders, expr: up}]}]", "r.yaml")[0].rules[0].name


@given(st.text(alphabet="groups:[]{}- namealertexpr\n'\"&*!|>1", max_size=80))
def test_invalid_input_is_rejected(text):
    """
    Or is a file without rules; nothing else ever comes out.
    """
    try:
        assert all(group.name for group in parse_rule_file(text, "r.yaml"))
    except SettingsError as error:
        assert str(error).startswith("r.yaml:")


def test_a_rule_replaces_a_shipped_one_of_its_name():
    """
    The others of its group stay.
    """
    own = parse_rule_file("groups: [{name: own, rules: [{alert: Down, expr: up < 1}]}]", "own.yaml")
    found = merge_groups(parse_rule_file(RULES, "shipped.yaml"), own)
    assert [(group.name, rule.name) for group in found for rule in group.rules] == [
        ("own", "Down"),
        ("shop", "job:up:sum"),
    ]


def test_groups_of_a_loaded_file_keep_all_their_settings(tmp_path):
    """
    Also where a rule of the group replaces a shipped one, and shipped rules are left out.
    """
    group = "{name: own, interval: 30s, limit: 5, engine: outside, rules: [{alert: disk_full, expr: up < 1}]}"
    (tmp_path / "own.yaml").write_text(f"groups: [{group}]")
    settings = AlertingSettings(rules=(str(tmp_path / "own.yaml"),), without=("stock_negative",))
    own = next(group for group in load_groups(settings) if group.name == "own")
    assert (own.engine, own.interval, own.limit) == (RuleEngineName.OUTSIDE, timedelta(seconds=30), 5)


def test_removing_and_replacing_shipped_rules_keeps_the_settings_of_their_group(monkeypatch):
    rules = "[{alert: kept, expr: up}, {alert: left_out, expr: up}]"
    shipped = parse_rule_file(f"groups: [{{name: a, interval: 1m, limit: 2, engine: outside, rules: {rules}}}]", "a")
    monkeypatch.setattr(rule_loader, "shipped_groups", lambda: shipped)
    (group,) = load_groups(AlertingSettings(without=("left_out",)))
    assert [rule.name for rule in group.rules] == ["kept"]
    assert (group.engine, group.interval, group.limit) == (RuleEngineName.OUTSIDE, timedelta(minutes=1), 2)


def test_rule_files_are_found_by_pattern(tmp_path):
    """
    A pattern that finds nothing is a mistake: somebody meant something by it.
    """
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "shop.yaml").write_text(RULES)
    assert [group.name for group in load_rule_files([f"{tmp_path}/rules/*.yaml"])] == ["shop"]
    assert [group.name for group in load_rule_files([str(tmp_path / "rules/shop.yaml")])] == ["shop"]
    with pytest.raises(SettingsError, match=r"alerting.rules: '/nowhere/other.yaml': no such file"):
        load_rule_files(["/nowhere/other.yaml"])


def test_removing_an_unknown_rule_is_an_error():
    """
    Else a misspelt word would go unnoticed.
    """
    with pytest.raises(SettingsError, match=r"alerting.without: unknown rule 'disk_usage'"):
        load_groups(AlertingSettings(without=("disk_usage",)))
