"""Findings about rules."""

import pytest

from toban.alerting.rule_file import parse_rule_file
from toban.alerting.rule_lint import LintContext, lint_rule, recorded_metrics, unguarded
from toban.alerting.rule_loader import shipped_groups
from toban.cli.metric_catalog import declared_metrics, transient_metrics

METRICS = {
    "up",
    "vendure_api_duration_seconds_bucket",
    "vendure_orders_created_total",
    "cache_hit_ratio",
    "system_cpu_usage_percent",
    "probe_ssl_earliest_cert_expiry",
    "process_start_time_seconds",
}
SERIES = {"vendure_orders_created_total": [{"channel": "default"}, {"channel": "b2b"}]}
P95 = "histogram_quantile(0.95, sum by (le) (rate(vendure_api_duration_seconds_bucket[5m])))"


def findings(expr: str, labels: str = "severity: warning", known: LintContext | None = None) -> list[str]:
    rule = f"{{alert: a, expr: '{expr}', labels: {{{labels}}}, annotations: {{summary: s}}}}"
    [group] = parse_rule_file(f"groups: [{{name: g, rules: [{rule}]}}]", "mine.yaml")
    return lint_rule(group.rules[0], known or LintContext(METRICS))


@pytest.mark.parametrize(
    ("expr", "words"),
    [
        (f"{P95} > 2000", "is it meant in milliseconds, 2?"),
        (f"2000 < {P95}", "is it meant in milliseconds, 2?"),
        ("cache_hit_ratio > 85", "is 0.85 meant?"),
        ("max_over_time(cache_hit_ratio[5m]) >= 85", "is 0.85 meant?"),
        ("avg by (instance) (system_cpu_usage_percent) > 0.9", "is 90 meant?"),
        (
            "sum(vendure_order_created_total) > 1",
            "unknown metric vendure_order_created_total: did you mean vendure_or",
        ),
        ("absent(zzz)", "unknown metric zzz"),
    ],
)
def test_a_doubtful_condition_is_reported_with_a_suggestion(expr, words):
    """
    Limits in another unit and metrics that nobody knows, wherever they stand.
    """
    [doubt] = findings(expr)
    assert words in doubt


@pytest.mark.parametrize(
    "expr",
    [
        f"{P95} > 2",
        "cache_hit_ratio < 0.5",
        "cache_hit_ratio > 1",
        "count(cache_hit_ratio) > 85",
        "sum(rate(vendure_api_duration_seconds_bucket[5m])) > 2000",
        "(probe_ssl_earliest_cert_expiry - time()) / 86400 < 14",
        "time() - process_start_time_seconds < 900",
        "system_cpu_usage_percent > 90",
        'ALERTS{alertstate="firing"} > 1000',
        "vector(1) > 5000",
    ],
)
def test_plausible_conditions_are_not_reported(expr):
    """
    Counts and rates have no unit; times are no durations.
    """
    assert findings(expr) == []


def test_a_label_with_the_value_is_reported():
    [doubt] = findings("up", "severity: warning, level: '{{ $value }}'")
    assert "label 'level' depends on the value" in doubt


def test_a_matcher_without_series_is_reported_with_the_known_values():
    """
    Only conditions that want something; and only where series are known.
    """
    known = LintContext(METRICS, series=lambda name: SERIES.get(name, []))
    [doubt] = findings('vendure_orders_created_total{channel="b2c"} > 1', known=known)
    assert (
        doubt == "so far no series of vendure_orders_created_total matches channel='b2c': its values are b2b, default"
    )
    [other] = findings('vendure_orders_created_total{shop=~"x.*"} > 1', known=known)
    assert other.endswith("no such label")
    for fine in ('{channel!="x"}', '{channel=~"b.*"}', '{shop=""}', '{shop=~".*"}'):
        assert findings(f"vendure_orders_created_total{fine} > 1", known=known) == []
    assert findings('up{job="nobody"} == 0', known=known) == []


def test_unknown_channels_and_severities_are_reported():
    """
    Where channels are known; a template may come to anything.
    """
    known = LintContext(METRICS, {"slack"})
    [doubt] = findings("up == 0", 'severity: warning, channels: "slack, sms"', known)
    assert doubt == "unknown channel 'sms': configured are slack"
    assert findings("up == 0", 'severity: warning, channels: "{{ $labels.team }}"', known) == []
    [doubt] = findings("up == 0", "severity: urgent")
    assert doubt == "unknown severity 'urgent' counts as a warning: use critical, warning, info"


def test_shipped_rules_have_no_findings():
    """
    Against the metrics that toban declares, and what its rules record.
    """
    known = LintContext({*declared_metrics(), *recorded_metrics(shipped_groups())}, transient=transient_metrics())
    found = {rule.name: lint_rule(rule, known) for group in shipped_groups() for rule in group.rules}
    assert {name: findings for name, findings in found.items() if findings} == {}


GONE = {"waiting_seconds": "while somebody waits"}
COMES_AND_GOES = LintContext({*METRICS, *GONE}, transient=GONE)


@pytest.mark.parametrize(
    "expr",
    [
        "waiting_seconds > 5",
        "max by (who) (waiting_seconds) > 5",
        "max_over_time(waiting_seconds[1h:1m]) > 5",
        "up == 1 and on () waiting_seconds > 5",
        "waiting_seconds > 5 or waiting_seconds < 1",
        "waiting_seconds unless up",
    ],
)
def test_a_rule_over_a_transient_metric_is_reported(expr):
    """
    An hour after it went, the rule can't be evaluated, and that is an alert of its own.
    """
    [doubt] = findings(expr, known=COMES_AND_GOES)
    assert "waiting_seconds exists only while somebody waits" in doubt
    assert "write `(waiting_seconds or vector(0))`" in doubt


@pytest.mark.parametrize(
    "expr",
    [
        "(waiting_seconds or vector(0)) > 5",
        "max(waiting_seconds or vector(0)) > 5",
        "waiting_seconds > 5 or 0 * up > 0",
        "up == 0 unless on () waiting_seconds > 5",
        "absent(waiting_seconds)",
        "max_over_time(waiting_seconds[1h]) > 5",
    ],
)
def test_a_rule_with_a_value_for_an_absent_metric_is_not_reported(expr):
    """
    Something else is always there, or its absence is what is asked for.
    """
    assert findings(expr, known=COMES_AND_GOES) == []


def test_no_shipped_rule_reads_a_transient_metric_without_a_default():
    """
    Unless it says what it is while it is away.
    """
    assert {
        "postgres_blocking_sessions",
        "vendure_order_stuck_seconds",
        "vendure_stock_lowest",
    } <= transient_metrics().keys()
    for group in shipped_groups():
        for rule in group.rules:
            assert unguarded(rule.query.root, transient_metrics()) == set(), rule.name
