"""The rules that come with toban."""

import os
import re
import shutil
import subprocess
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.needs import need
from toban.alerting import rule_unit_tests
from toban.alerting.rule_loader import shipped_groups
from toban.core.errors import SettingsError

RULES = Path(__file__).parents[3] / "src/toban/alerting/rules"
TESTS = Path(__file__).parents[2] / "rules"
FILES = sorted(TESTS.glob("*.test.yaml"))
ORIGINAL = {
    "application_down": ("2m", "critical", "slack,email,pagerduty", "Vendure application is down"),
    "high_response_time": ("5m", "warning", "slack", "API response time is high (>2s)"),
    "high_error_rate": ("3m", "critical", "slack,email", "High error rate detected (>5%)"),
    "database_connection_high": ("5m", "warning", "slack", "High database connection count"),
    "redis_memory_high": ("5m", "warning", "slack", "Redis memory usage is high"),
    "disk_usage_high": ("10m", "warning", "slack", "Disk usage is high (>85%)"),
    "order_failure_rate": ("5m", "critical", "slack,email,business_team", "Order failure rate is high (>10%)"),
}


@cache
def document(path: Path) -> Any:
    """Read YAML; by libyaml, if there is one: these files are large."""
    return yaml.load(path.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))


UNIT_TESTS = [
    pytest.param(path, test, id=f"{path.name.partition('.')[0]}: {test['name']}")
    for path in FILES
    for test in document(path)["tests"]
]


def beside_their_rules(path: Path, tests: list[dict[str, Any]], folder: Path) -> Path:
    """
    Write tests of a file, with a rule file that has only what they need.

    That is the alerts they name, and all recording rules: every rule is evaluated at each step, which took a minute
    of CPU time. Where something reads other alerts, it is the whole file.
    """
    file = document(path)
    names = {case["alertname"] for test in tests for case in test.get("alert_rule_test", [])}
    groups = [group for it in file["rule_files"] for group in document(path.parent / it)["groups"]]
    needed = [
        {**group, "rules": [rule for rule in group["rules"] if rule.get("alert") in {None, *names}]} for group in groups
    ]
    reads_alerts = any("promql_expr_test" in test for test in tests) or "ALERTS" in str(needed)
    folder.mkdir(exist_ok=True)
    (folder / "rules.yaml").write_text(yaml.safe_dump({"groups": groups if reads_alerts else needed}))
    written = folder / "some.test.yaml"
    written.write_text(yaml.safe_dump({**file, "rule_files": ["rules.yaml"], "tests": tests}))
    return written


@pytest.mark.parametrize(("path", "test"), UNIT_TESTS)
def test_the_rules_pass_their_unit_tests(tmp_path, path, test):
    assert [str(failure) for failure in rule_unit_tests.run(beside_their_rules(path, [test], tmp_path))] == []


def test_promtool_accepts_the_rules():
    promtool = str(need("promtool", shutil.which("promtool")))
    rules = sorted(map(str, RULES.glob("*.yaml")))
    done = subprocess.run([promtool, "check", "rules", *rules], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_rules_pass_their_unit_tests_in_promtool(tmp_path, path):
    promtool = str(need("promtool", shutil.which("promtool")))
    tests_by_names = defaultdict(list)
    for test in document(path)["tests"]:
        tests_by_names[frozenset(case["alertname"] for case in test.get("alert_rule_test", []))].append(test)
    written = [
        str(beside_their_rules(path, tests, tmp_path / str(number)))
        for number, tests in enumerate(tests_by_names.values())
    ]
    # Its garbage collector takes a third of the time at the default of 100.
    environment = {**os.environ, "GOGC": "400"}
    done = subprocess.run([promtool, "test", "rules", *written], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_rule_has_a_test_that_fires_and_one_that_does_not():
    """
    By their names.
    """
    names = {test["name"] for path in FILES for test in document(path)["tests"]}
    rules = {rule.name for group in shipped_groups() for rule in group.alerts}
    assert {f"{rule} {how}" for rule in rules for how in ("fires", "stays quiet")} <= names
    assert {name.partition(" ")[0] for name in names} == rules


def test_every_rule_has_a_test_of_its_recovery():
    """
    What is read over a time decays: a rule could fire for what is over, or for ever.
    """
    names = {test["name"] for path in FILES for test in document(path)["tests"]}
    rules = {rule.name for group in shipped_groups() for rule in group.alerts}
    mended = {name.partition(" ")[0] for name in names if re.search("is over|after the mend|for what is over", name)}
    assert rules - mended == set()


def test_a_rule_that_counts_what_customers_and_jobs_do_has_a_test_at_low_traffic():
    """
    Of three orders one is a third. What counts is whatever reads a rise of the shop's counters, or attempts to pay.
    """
    names = {test["name"] for path in FILES for test in document(path)["tests"]}
    rises = re.compile(r"(rate|increase)\((vendure_|fly_)|vendure:payments_")
    counting = {rule.name for group in shipped_groups() for rule in group.alerts if rises.search(rule.query.text)}
    assert {"high_error_rate", "queue_failing", "payments_failing"} <= counting
    assert counting - {name.partition(" ")[0] for name in names if "at low traffic" in name} == set()


def test_every_rule_has_its_annotations_in_both_languages():
    """
    Whatever is said in one is said in the other; numbers and their limits go together.
    """
    for group in shipped_groups():
        for rule in group.alerts:
            keys = set(rule.annotations)
            assert {"summary", "summary_ja", "action", "action_ja"} <= keys, rule.name
            bare = {it: re.sub(r"{{.*?}}", "", rule.annotations[it].source) for it in keys & {"value", "limit"}}
            worded = {it for it, text in bare.items() if re.search(r"[a-z]{4}", text)}
            assert {f"{it}_ja" for it in worded} == keys & {"value_ja", "limit_ja"}, rule.name
            assert ("description" in keys) is ("description_ja" in keys), rule.name
            assert ("value" in keys) is ("limit" in keys), rule.name
            assert rule.severity in {"critical", "warning", "info"}


def test_every_rule_formats_its_value_unless_it_is_0_or_1():
    """
    The bare result of an expression says nothing at night: a message leaves out 0 and 1 alone.
    """
    for group in shipped_groups():
        for rule in group.alerts:
            query = re.sub(r"or 0 \* \w+ > 0", "", rule.query.text)
            yes_or_no = re.search(r"== [01]\b", query) and not re.search(r"[<>]=? *[\d.]", query)
            assert "value" in rule.annotations or yes_or_no or rule.name == "worker_silent", rule.name


@pytest.mark.parametrize("name", ORIGINAL)
def test_rules_of_the_original_keep_their_names_durations_and_texts(name):
    """
    What had to be corrected is their condition alone.
    """
    (rule,) = (rule for group in shipped_groups() for rule in group.alerts if rule.name == name)
    time, severity, channels, words = ORIGINAL[name]
    assert f"{int(rule.for_.total_seconds() // 60)}m" == time
    assert (rule.severity, rule.labels["channels"].source) == (severity, channels)
    assert rule.annotations["summary"].source.startswith(words)


def test_a_failed_unit_test_shows_expected_and_actual_results(tmp_path):
    """
    And a file that is wrong is refused with its place.
    """
    (tmp_path / "r.yaml").write_text("groups: [{name: g, rules: [{alert: A, expr: up == 0}]}]")
    test = {
        "rule_files": ["r.yaml"],
        "tests": [
            {
                "input_series": [{"series": 'up{job="x"}', "values": "0x5"}],
                "alert_rule_test": [{"eval_time": "2m", "alertname": "A", "exp_alerts": []}],
                "promql_expr_test": [{"expr": "up", "eval_time": "1m", "exp_samples": [{"labels": "up", "value": 1}]}],
            }
        ],
    }
    path = tmp_path / "t.yaml"
    path.write_text(yaml.safe_dump(test))
    expression, alert = sorted(rule_unit_tests.run(path), key=lambda it: it.what, reverse=True)
    assert (alert.expected, alert.got) == ("none", '{alertname="A", job="x"} {}')
    assert expression.got == 'up{job="x"} 0.0'


def test_a_unit_test_evaluates_what_its_alert_reads_however_it_reads_it(tmp_path):
    """
    A recorded series by way of another, another alert, and what a template queries.
    """
    (tmp_path / "r.yaml").write_text("""
groups:
- name: g
  rules:
  - {record: a, expr: x * 2}
  - {record: b, expr: a + 1}
  - {record: told, expr: vector(7)}
  - {alert: Cause, expr: b == 3, labels: {cause: "{{ with query \\"told\\" }}{{ . | first | value }}{{ end }}"}}
  - {alert: Effect, expr: 'count by (cause) (ALERTS{alertname="Cause"})'}
  - {alert: Any, expr: 'count({alertstate="firing", alertname!="Any"}) == 2'}
""")
    test = {
        "rule_files": ["r.yaml"],
        "tests": [
            {
                "input_series": [{"series": "x", "values": "1x5"}],
                "alert_rule_test": [
                    {"eval_time": "2m", "alertname": name, "exp_alerts": [{"exp_labels": labels}]}
                    for name, labels in named.items()
                ],
            }
            for named in ({"Effect": {"cause": "7"}}, {"Any": {}})
        ],
    }
    path = tmp_path / "t.yaml"
    path.write_text(yaml.safe_dump(test))
    assert rule_unit_tests.run(path) == []


@pytest.mark.parametrize("series", ["m{", 'm{a="b"', "m n", "1m", "m{}}", ""])
def test_an_invalid_series_of_a_unit_test_is_rejected(tmp_path, series):
    """
    A test over something else would be well without having looked.
    """
    file = tmp_path / "broken.test.yaml"
    file.write_text(
        yaml.safe_dump({"tests": [{"interval": "1m", "input_series": [{"series": series, "values": "1"}]}]})
    )
    with pytest.raises(SettingsError, match="invalid series"):
        rule_unit_tests.run(file)


@pytest.mark.parametrize(("expr", "got"), [("'x'", "a string"), ("up[5m]", "a matrix")])
def test_an_expression_of_a_unit_test_without_vector_fails(tmp_path, expr, got):
    """
    As with promtool: that nothing was expected does not make it well.
    """
    file = tmp_path / "string.test.yaml"
    case = {"interval": "1m", "input_series": [], "promql_expr_test": [{"expr": expr, "eval_time": "0"}]}
    file.write_text(yaml.safe_dump({"tests": [case]}))
    assert [failure.got for failure in rule_unit_tests.run(file)] == [got]
