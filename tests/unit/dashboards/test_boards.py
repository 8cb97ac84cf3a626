"""The shipped boards, and boards of one's own."""

import pytest
from pydantic import ValidationError

from toban.cli.metric_catalog import declared_families, declared_metrics
from toban.core.errors import SettingsError
from toban.core.labels import NAME
from toban.dashboards.board import Board, with_placeholders
from toban.dashboards.board_loader import load_boards, parse_board, shipped_boards
from toban.dashboards.grafana_export import dashboard
from toban.dashboards.settings import DashboardSettings
from toban.promql import parser
from toban.promql.syntax_tree import selectors
from toban.settings import load_settings

BOARDS = [pytest.param(board, id=board.name) for board in shipped_boards()]
PROMETHEUS_OWN = {"ALERTS", "ALERTS_FOR_STATE", "up"}


def test_the_production_board_is_the_one_of_the_original_design():
    """
    Titles, expressions and legends to the letter, in their order.
    """
    board = next(board for board in shipped_boards() if board.name == "production")
    assert board.title == "Vendure Production Dashboard"
    assert (board.time.begin, board.time.end, board.refresh) == ("now-6h", "now", "30s")
    assert [row.title for row in board.rows] == ["Business Metrics"]
    assert [(panel.title, [(it.expr, it.legend) for it in panel.queries]) for panel in board.all_panels] == [
        (
            "API Response Time",
            [
                ("histogram_quantile(0.95, rate(vendure_api_duration_seconds_bucket[5m]))", "95th percentile"),
                ("histogram_quantile(0.50, rate(vendure_api_duration_seconds_bucket[5m]))", "50th percentile"),
            ],
        ),
        ("Request Rate", [("rate(vendure_api_requests_total[5m])", "{{endpoint}} - {{method}}")]),
        (
            "Error Rate",
            [
                (
                    'rate(vendure_api_requests_total{status=~"5.."}[5m]) / rate(vendure_api_requests_total[5m]) * 100',
                    "",
                )
            ],
        ),
        (
            "Database Connections",
            [
                ("postgres_active_connections", "Active Connections"),
                ('postgres_connection_pool_size{state="idle"}', "Idle Pool"),
            ],
        ),
        ("Redis Memory Usage", [("redis_memory_usage_bytes / 1024 / 1024", "Memory Usage (MB)")]),
        ("Orders per Hour", [("rate(vendure_orders_created_total[1h]) * 3600", "{{customerType}}")]),
        ("Revenue per Hour", [("rate(vendure_order_total_amount_sum[1h]) * 3600", "Revenue (JPY/hour)")]),
    ]
    response_time, _, error_rate, *_ = board.all_panels
    assert (response_time.axis_label, response_time.max) == ("Response Time (seconds)", 5)
    assert (error_rate.unit, [it.value for it in error_rate.thresholds]) == ("percent", [1, 5])
    assert error_rate.colored_background


@pytest.mark.parametrize("board", BOARDS)
def test_every_metric_of_a_board_is_one_that_toban_has(board: Board):
    """
    A panel over a metric with a typing error would be empty for ever.
    """
    known = declared_metrics() | PROMETHEUS_OWN
    for panel in board.all_panels:
        for query in panel.queries:
            for selector in selectors(parser.parse(with_placeholders(query.expr)).root):
                (name,) = (it.value for it in selector.matchers if it.name == NAME)
                assert name in known, f"{panel.title}: {name}"


@pytest.mark.parametrize("board", BOARDS)
def test_every_variable_of_a_board_is_a_label_of_its_metric(board: Board):
    """
    So that there is something to choose from; a variable that no panel uses would do nothing.
    """
    labels = {
        family.name: {*(family.labels or ()), *family.optional_labels, "instance", "job"}
        for _, family in declared_families()
    }
    for variable in board.variables:
        assert variable.label in labels[variable.metric]
        assert any(f"${variable.name}" in query.expr for panel in board.all_panels for query in panel.queries)


@pytest.mark.parametrize("board", BOARDS)
def test_a_board_has_japanese_words_wherever_english_ones_are(board: Board):
    """
    What is a name in both languages has no translation.
    """
    names = {"PostgreSQL", "Redis", "Upstash", "Fly.io", "Node.js", "UptimeRobot", "toban", "CPU"}
    titled = [board, *board.rows, *board.all_panels, *board.variables]
    assert [it.title for it in titled if not it.title_ja and it.title not in names] == []
    described = [board, *board.all_panels]
    assert [it.title for it in described if bool(it.description) != bool(it.description_ja)] == []


OWN = """
name: sales
title: Sales
variables: [{name: channel, title: Channel, metric: vendure_orders_created_total, label: channel}]
panels:
  - title: Orders
    queries: [{expr: 'sum(increase(vendure_orders_created_total{channel=~"$channel"}[1h]))'}]
    thresholds: [{value: 10, level: ok}]
    base_level: critical
"""


def test_a_board_of_ones_own_stands_beside_the_shipped_ones_and_replaces_one(tmp_path):
    """
    By its name.
    """
    (tmp_path / "sales.yaml").write_text(OWN)
    (tmp_path / "api.yaml").write_text(OWN.replace("name: sales", "name: api").replace("title: Sales", "title: Mine"))
    settings = DashboardSettings.model_validate({"boards": ["*.yaml"]}, context={"folder": tmp_path})
    found = {board.name: board.title for board in load_boards(settings)}
    assert found == {board.name: board.title for board in shipped_boards()} | {"sales": "Sales", "api": "Mine"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (OWN.replace("[1h]", "[1h"), "panels.0.queries.0.expr: 'sum(increase"),
        (OWN.replace("$channel", "$chanel"), "$chanel is not among the board's variables"),
        (OWN.replace("level: ok", "level: fine"), "panels.0.thresholds.0.level"),
        ("name: x\ntitle: X\n", "a board needs a panel"),
        (OWN.replace("name: sales", "name: a b"), "name: "),
        ("name: [", "line 1: "),
    ],
)
def test_a_mistake_in_a_board_is_named_with_its_file_and_place(text: str, message: str):
    """
    All mistakes at once.
    """
    with pytest.raises(SettingsError) as caught:
        parse_board(text, "sales.yaml")
    assert str(caught.value).startswith("sales.yaml: ")
    assert message in str(caught.value)


def test_a_mistake_that_follows_from_another_is_not_named():
    """
    A panel whose only query is invalid does not lack one.
    """
    with pytest.raises(SettingsError) as caught:
        parse_board(OWN.replace("[1h]", "[1h"), "sales.yaml")
    assert len(str(caught.value).splitlines()) == 1


def test_two_boards_of_one_name_are_a_mistake(tmp_path):
    """
    Both files are named.
    """
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(OWN)
    settings = DashboardSettings.model_validate({"boards": ["*.yaml", "none.yaml"]}, context={"folder": tmp_path})
    with pytest.raises(SettingsError) as caught:
        load_boards(settings)
    assert "the board 'sales' is in" in str(caught.value)
    assert "none.yaml': no such file" in str(caught.value)


def test_a_mistake_in_a_board_is_a_mistake_of_the_settings(tmp_path):
    """
    `toban check` names it beside others.
    """
    (tmp_path / "sales.yaml").write_text(OWN.replace("[1h]", "[1h"))
    (tmp_path / "toban.yaml").write_text("dashboards: {boards: [sales.yaml]}\nweb: {port: 1}\n")
    with pytest.raises(SettingsError) as caught:
        load_settings(tmp_path / "toban.yaml", {})
    assert "sales.yaml: panels.0.queries.0.expr" in str(caught.value)
    assert "port" in str(caught.value)


def test_an_area_is_filled_down_to_another_query_of_the_panel():
    """
    In Grafana, too, by the name that is shown; a legend that no other query has is refused.
    """
    high = {"expr": "a", "legend": "high", "legend_ja": "高", "fill_below_to": "low"}
    low = {"expr": "b", "legend": "low", "legend_ja": "低"}
    board = Board.model_validate({"name": "b", "title": "B", "panels": [{"title": "T", "queries": [high, low]}]})
    [override] = dashboard(board, language="ja")["panels"][0]["fieldConfig"]["overrides"]
    assert override["matcher"]["options"] == "高"
    assert override["properties"] == [{"id": "custom.fillBelowTo", "value": "低"}]
    for wrong in ([high], [{**high, "fill_below_to": "high"}, low]):
        with pytest.raises(ValidationError, match="no other query has the legend"):
            Board.model_validate({"name": "b", "title": "B", "panels": [{"title": "T", "queries": wrong}]})
