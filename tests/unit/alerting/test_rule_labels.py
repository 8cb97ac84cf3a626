"""Every shipped rule and board reads labels that its series can have."""

import re

import pytest

from tests.label_inference import LabelInference, declared_labels
from toban.alerting.rule_file import AlertRule, parse_rule_file
from toban.alerting.rule_loader import shipped_groups
from toban.cli.metric_catalog import declared_families
from toban.dashboards.board import with_placeholders
from toban.dashboards.board_loader import shipped_boards
from toban.promql import parser

ALERT_LABEL = re.compile(r"\$labels\.(\w+)")
RESULT_LABEL = re.compile(r"\.Labels\.(\w+)")
TEMPLATE_QUERY = re.compile(r'query (?:\(printf )?"((?:[^"\\]|\\.)*)"')
UNKNOWN = {"event_loop_blocked"}
"""Alerts over metrics that the shop's telemetry names."""


@pytest.fixture(scope="module")
def inference():
    """Infer the labels of all shipped rules."""
    found = LabelInference(declared_labels(family for _, family in declared_families()))
    found.add_rules(shipped_groups())
    return found


def test_every_shipped_rule_reads_labels_that_its_series_have():
    """
    Of metrics, of recorded series and of ``ALERTS``; in matchers, groupings, vector matching and functions.
    """
    inference = LabelInference(declared_labels(family for _, family in declared_families()))
    assert inference.add_rules(shipped_groups()) == {}


def test_recorded_series_and_alerts_have_known_labels(inference):
    """
    What is unknown is not checked.
    """
    recorded = {rule.name for group in shipped_groups() for rule in group.rules if not isinstance(rule, AlertRule)}
    assert {name for name in recorded if inference.metrics[name] is None} == set()
    assert {name for name, labels in inference.alerts.items() if labels is None} == UNKNOWN


def test_every_text_of_a_shipped_rule_names_labels_that_its_alerts_have(inference):
    """
    And of the queries in it, labels that their series have.
    """
    for group in shipped_groups():
        for rule in group.alerts:
            for text in (it.source for it in (*rule.labels.values(), *rule.annotations.values())):
                results = set()
                for query in TEMPLATE_QUERY.findall(text):
                    root = parser.parse(query.replace("%q", '"x"').replace("%s", "x").replace(r"\"", '"')).root
                    assert inference.errors_of(root) == [], rule.name
                    results |= inference.of(root)
                assert set(RESULT_LABEL.findall(text)) <= results, rule.name
                if rule.name not in UNKNOWN:
                    assert set(ALERT_LABEL.findall(text)) <= inference.alerts[rule.name], rule.name


@pytest.mark.parametrize("board", shipped_boards(), ids=lambda board: board.name)
def test_every_expression_of_a_board_reads_labels_that_its_series_have(board, inference):
    for panel in board.all_panels:
        for query in panel.queries:
            root = parser.parse(with_placeholders(query.expr)).root
            assert inference.errors_of(root) == [], f"{panel.title}: {query.expr}"


RULES = """
groups:
- name: g
  rules:
  - {record: shop:orders, expr: sum by (channel) (orders_total), labels: {team: web}}
  - {alert: orders_low, expr: shop:orders < 5, labels: {severity: warning}}
  - {alert: target_down, expr: up == 0}
"""
METRICS = {
    "up": frozenset({"job", "instance"}),
    "orders_total": frozenset({"channel", "currency"}),
    "order_amount_bucket": frozenset({"channel", "le"}),
    "scraped": None,
}


def errors(expr: str) -> list[str]:
    inference = LabelInference(dict(METRICS))
    assert inference.add_rules(parse_rule_file(RULES, "rules.yaml")) == {}
    return inference.errors_of(parser.parse(expr).root)


@pytest.mark.parametrize(
    "expr",
    [
        'orders_total{chanel="web"}',
        "sum by (chanel) (orders_total)",
        "sum without (chanel) (orders_total)",
        "sum by (currency) (sum by (channel) (orders_total))",
        "orders_total / on (chanel) orders_total",
        "orders_total and ignoring (chanel) up",
        "up * on (job) group_left (channel) sum by (job) (up)",
        'label_replace(orders_total, "a", "$1", "chanel", "(.*)")',
        "histogram_quantile(0.9, sum by (channel) (rate(order_amount_bucket[5m])))",
        "sum by (le) (histogram_quantile(0.9, order_amount_bucket))",
        'shop:orders{currency="EUR"}',
        "sum by (currency) (max_over_time(shop:orders[1h:1m]))",
        'ALERTS{alertname="orders_low", job="web"}',
        'ALERTS{alertname=~"orders_.*", currency="EUR"}',
        'sum by (channel) (ALERTS{alertname="target_down"})',
        "ALERTS{currency!=''}",
        'ALERTS_FOR_STATE{alertstate="firing"}',
        "sum by (job) (absent(orders_total{channel='web'}))",
    ],
)
def test_a_label_that_no_series_has_is_found(expr):
    assert len(errors(expr)) == 1


@pytest.mark.parametrize(
    "expr",
    [
        'orders_total{channel="web"} > 5 or vector(0)',
        "sum by (channel) (rate(order_amount_bucket[5m]))",
        "up * on (job) group_left (channel) label_replace(up, 'channel', '$1', 'job', '(.*)')",
        'sum by (team, channel) (shop:orders{team="web"})',
        'ALERTS{alertname="orders_low", alertstate="firing", team="web", channel="web", severity="warning"}',
        'count by (instance) (ALERTS{alertname="target_down"})',
        "ALERTS{job='web'} or ALERTS{channel='web'}",
        'ALERTS_FOR_STATE{alertname="orders_low"}',
        "sum by (channel) (absent(orders_total{channel='web'}))",
        'scraped{anything="x"}',
        "sum by (orders) (count_values by (channel) ('orders', orders_total))",
        "max(up) unless on (channel) orders_total",
        "up * scalar(orders_total) > time()",
    ],
)
def test_labels_that_some_series_have_are_accepted(expr):
    assert errors(expr) == []
