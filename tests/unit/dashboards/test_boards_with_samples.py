"""
The shipped boards over the samples of a real shop: `toban demo`, captured by `tools/capture_boards.py`.

A query that is empty for a healthy shop with customers is a mistake of the board, unless its reason stands here.
"""

import gzip
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from toban.dashboards.board import Board
from toban.dashboards.board_data import BoardData, board_data
from toban.dashboards.board_loader import shipped_boards
from toban.dashboards.time_range import TimeRange
from toban.exposition.openmetrics_dump import read_dump
from toban.promql.engine import PromqlEngine
from toban.promql.executor import QueryExecutor
from toban.promql.memory_source import MemorySource

CAPTURED = Path(__file__).parents[2] / "data" / "boards.txt.gz"

EMPTY = {
    "customers' activity comes as events, which the demo's shop sends none of": {
        ("commerce", "Customers' activity", "vendure_customer_activity_total")
    },
    "no order was lost": {("commerce", "Orders lost to a failed payment", "vendure_orders_failed_total")},
    "the demo does not run on Fly.io": {
        ("hosts", "State", "fly_machine_as_wanted"),
        ("hosts", "Restarts", "fly_machine_restarts"),
        ("hosts", "Responses at the edge", "fly_edge_http_responses_count"),
        ("hosts", "Volumes", "fly_volume_used_ratio"),
    },
    "the demo's PostgreSQL has no replica": {
        ("postgres", "Replication lag", "postgres_replication_replay_lag_seconds")
    },
    "no response had a status of 5xx": {("production", "Error Rate", "5..")},
    "the demo's Redis is not Upstash, and has no limit": {
        ("redis", "Memory", "redis_memory_limit_bytes"),
        ("redis", "Commands of the month", "upstash_commands_month"),
        ("redis", "Storage", "upstash_storage_bytes"),
        ("redis", "Latency (p99)", "upstash_latency_p99_seconds"),
    },
    "the demo's storefront has no TLS, no telemetry, and is not watched by UptimeRobot": {
        ("storefront", "Certificates expire", "probe_ssl_earliest_cert_expiry"),
        ("storefront", "Requests by status", "storefront_requests_total"),
        ("storefront", "Response time (p95)", "storefront_request_duration_seconds_bucket"),
        ("storefront", "UptimeRobot", "uptimerobot_monitor_up"),
        ("storefront", "Uptime of the last day", "uptimerobot_monitor_uptime_ratio"),
    },
    "the demo has no service levels": {
        ("slo", "Error budget left", "slo:period_error_budget_remaining:ratio"),
        ("slo", "Burn rate now", "slo:current_burn_rate:ratio"),
        ("slo", "Error budget over time", "slo:period_error_budget_remaining:ratio"),
        ("slo", "Share of bad events in an hour", "slo:sli_error:ratio_rate1h"),
        ("slo", "Share of bad events in an hour", "slo:error_budget:ratio"),
        ("slo", "Bad events in an hour", "slo:sli_bad:increase1h"),
        ("slo", "Observed", "slo:observed:bool"),
    },
    "nobody was notified of anything, and nothing was rejected": {
        ("toban", "Notifications", "toban_notifications_total"),
        ("toban", "Failures", "toban_ingest_rejected_total"),
    },
}
"""Queries that may be empty, by the reason: board, panel, and a part of the expression."""

WITHOUT_VALUES = {"slo": ["level"]}

ALLOWED = {query for queries in EMPTY.values() for query in queries}
BOARDS = [pytest.param(board, id=board.name) for board in shipped_boards()]


@pytest.fixture(scope="module")
def captured() -> tuple[MemorySource, datetime]:
    """The samples, and the time of the last one."""
    source, end = MemorySource(), 0
    with gzip.open(CAPTURED, "rt", encoding="utf-8") as lines:
        for chunk in read_dump(lines):
            for labels, at, value in chunk.samples:
                source.add(labels, [(at, value)])
                end = max(end, at)
    return source, datetime.fromtimestamp(end / 1000, UTC)


async def data_of(board: Board, source: MemorySource, end: datetime) -> BoardData:
    """Return what a board shows."""
    span = TimeRange(end - timedelta(minutes=15), end, timedelta(seconds=15))
    async with QueryExecutor(PromqlEngine(source)) as engine:
        return await board_data(board, engine, span, {})


@pytest.mark.parametrize("board", BOARDS)
async def test_no_query_of_a_board_is_empty_without_a_reason(board, captured):
    """
    Each query of each panel, not one of a panel alone; and a reason that no longer holds is removed.
    """
    unexplained, reasons = [], set()
    for panel in (await data_of(board, *captured)).panels:
        assert not panel.error, f"{panel.title}: {panel.error}"
        there = {it.query for it in panel.series if any(value is not None for value in it.values)}
        for expression in (it for place, it in enumerate(panel.expressions) if place not in there):
            known = {it for it in ALLOWED if it[:2] == (board.name, panel.title) and it[2] in expression}
            unexplained += [] if known else [(panel.title, expression)]
            reasons |= known
    assert unexplained == []
    assert reasons == {it for it in ALLOWED if it[0] == board.name}


@pytest.mark.parametrize("board", BOARDS)
async def test_each_variable_of_a_board_has_values(board, captured):
    """
    There is something to choose from, unless the demo has nothing of what the whole board shows.
    """
    data = await data_of(board, *captured)
    assert [name for name, values in data.variables.items() if not values] == WITHOUT_VALUES.get(board.name, [])
