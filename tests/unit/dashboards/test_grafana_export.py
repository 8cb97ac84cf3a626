"""Boards and rules as Grafana reads them."""

from datetime import timedelta

import pytest

from tests import grafana_validator
from toban.alerting.grafana_export import alert_rules
from toban.alerting.rule_file import parse_rule_file
from toban.alerting.rule_loader import shipped_groups
from toban.dashboards.board import Board
from toban.dashboards.board_loader import shipped_boards
from toban.dashboards.grafana_export import dashboard, literal, provisioning

BOARDS = [pytest.param(board, id=board.name) for board in shipped_boards()]


@pytest.mark.parametrize("version", [39, 42])
@pytest.mark.parametrize("language", ["en", "ja"])
@pytest.mark.parametrize("board", BOARDS)
def test_a_board_is_a_dashboard_that_grafana_accepts(board: Board, version, language):
    """
    With all its panels and expressions.
    """
    found = dashboard(board, version, language)
    assert grafana_validator.mistakes(found) == []
    panels = [panel for panel in found["panels"] if panel["type"] != "row"]
    assert [[it["expr"] for it in panel["targets"]] for panel in panels] == [
        [it.expr for it in panel.queries] for panel in board.all_panels
    ]
    assert found["title"] == (board.title_ja if language == "ja" and board.title_ja else board.title)


def test_the_error_rate_has_the_colours_of_the_original_design():
    """
    Green below one percent, red from five on.
    """
    production = next(board for board in shipped_boards() if board.name == "production")
    panel = next(panel for panel in dashboard(production)["panels"] if panel["title"] == "Error Rate")
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    assert [(step["value"], step["color"]) for step in steps] == [(None, "green"), (1, "orange"), (5, "red")]
    assert panel["options"]["colorMode"] == "background"


def test_the_shipped_rules_are_rules_that_grafana_accepts():
    """
    What its templates can't expand is left out, and named.
    """
    found = alert_rules(shipped_groups(), timedelta(seconds=15), "toban", "toban")
    assert list(grafana_validator.rule_mistakes(literal(found.content))) == []
    names = [rule["title"] for group in found.content["groups"] for rule in group["rules"]]
    assert names == [rule.name for group in shipped_groups() for rule in group.alerts]
    left_out = "annotation description of fly_machine_not_as_wanted: Grafana has no function `query`"
    assert left_out in found.lost


RULES = """
groups:
- name: shop
  interval: 25s
  rules:
  - alert: down
    expr: up{job=~"a$"} == 0
    for: 1m
    annotations: {summary: "{{ $labels.job }} is down: {{ $value }}", value: '{{ $value | humanize }}'}
  - {alert: down, expr: up == 1}
  - {record: a, expr: up}
- name: a rule whose name is far too long for a uid
  rules: [{alert: "チームの名前がとても長いアラートです", expr: up}]
"""


def test_dollars_are_doubled_and_names_are_unique():
    """
    Grafana reads `$NAME` in provisioning files as an environment variable, and wants intervals of whole ten seconds.
    """
    found = alert_rules(parse_rule_file(RULES, "rules.yaml"), timedelta(seconds=15), "toban", "prom")
    assert list(grafana_validator.rule_mistakes(literal(found.content))) == []
    shop, other = literal(found.content)["groups"]
    assert (shop["interval"], other["interval"]) == ("30s", "20s")
    assert [rule["title"] for rule in shop["rules"]] == ["down", "down 2"]
    first = shop["rules"][0]
    assert first["data"][0]["model"]["expr"] == 'up{job=~"a$$"} == 0'
    assert first["data"][0]["datasourceUid"] == "prom"
    assert first["annotations"] == {
        "summary": "{{ $$labels.job }} is down: {{ $$values.A.Value }}",
        "value": "{{ $$values.A.Value | humanize }}",
    }


def test_the_data_source_takes_the_token_from_grafanas_environment():
    """
    It stands in no file.
    """
    files = provisioning("http://toban:9119", "/var/lib/grafana/dash$boards", with_token=True)
    (source,) = files["provisioning/datasources/toban.yaml"]["datasources"]
    assert source["secureJsonData"] == {"httpHeaderValue1": "Bearer $TOBAN_TOKEN"}
    (provider,) = files["provisioning/dashboards/toban.yaml"]["providers"]
    assert provider["options"]["path"] == "/var/lib/grafana/dash$$boards"
    without = provisioning("http://toban:9119", "/d", with_token=False)
    assert "secureJsonData" not in without["provisioning/datasources/toban.yaml"]["datasources"][0]
