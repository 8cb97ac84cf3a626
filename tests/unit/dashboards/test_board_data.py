"""What the panels of a board show."""

from datetime import UTC, datetime, timedelta

import pytest

from toban.core.errors import StoreError
from toban.core.samples import milliseconds
from toban.dashboards.board import Board
from toban.dashboards.board_data import MAX_SERIES, board_data
from toban.dashboards.time_range import TimeRange
from toban.promql.engine import PromqlEngine
from toban.promql.executor import QueryExecutor
from toban.promql.memory_source import MemorySource

END = datetime(2026, 1, 1, 12, tzinfo=UTC)
MINUTE = 60_000
SPAN = TimeRange(END - timedelta(minutes=4), END, timedelta(minutes=1))


def board(*panels: dict[str, object], **more: object) -> Board:
    return Board.model_validate({"name": "b", "title": "B", "panels": panels, **more})


def source() -> MemorySource:
    found, at = MemorySource(), milliseconds(END)
    for place, value in (("attic", 1.0), ("cellar", 5.0)):
        times = range(at - 2 * MINUTE, at + 1, MINUTE // 2)
        found.add({"__name__": "heat", "place": place, "job": "j", "instance": "i"}, [(time, value) for time in times])
    return found


class Counting(QueryExecutor):
    """Counts queries; raises ``trouble`` for those with `lost`."""

    ran = 0

    async def range(self, query, start, end, step, *, time_limit=None):
        self.ran += 1
        if "lost" in query:
            raise StoreError("the store is away")
        return await super().range(query, start, end, step, time_limit=time_limit)


async def found(of: Board, chosen=None, language="en"):
    async with Counting(PromqlEngine(source())) as engine:
        return await board_data(of, engine, SPAN, chosen or {}, language), engine.ran


async def test_a_series_has_a_value_for_each_time_and_none_where_there_is_none():
    """
    On the grid of the step; the legend names it.
    """
    data, _ = await found(board({"title": "Heat", "queries": [{"expr": "heat", "legend": "in the {{place}}"}]}))
    assert len(data.times) == 5
    assert data.times[-1] == milliseconds(END)
    assert {it.name: list(it.values) for it in data.panels[0].series} == {
        "in the attic": [None, None, 1.0, 1.0, 1.0],
        "in the cellar": [None, None, 5.0, 5.0, 5.0],
    }


async def test_a_query_is_run_once_and_one_that_fails_costs_its_panel_alone():
    """
    With the reason.
    """
    twice = {"queries": [{"expr": "sum(heat)"}]}
    lost = {"title": "Lost", "queries": [{"expr": "heat"}, {"expr": "sum(lost)"}]}
    data, ran = await found(board({"title": "One", **twice}, lost, {"title": "Two", **twice}))
    assert ran == 4  # and that of the alerts
    assert [(it.title, len(it.series), it.error) for it in data.panels] == [
        ("One", 1, ""),
        ("Lost", 0, "the store is away"),
        ("Two", 1, ""),
    ]


async def test_a_series_names_the_query_it_is_of():
    """
    By its place among those of the panel.
    """
    data, _ = await found(board({"title": "Heat", "queries": [{"expr": "sum(heat)"}, {"expr": "heat"}]}))
    assert [it.query for it in data.panels[0].series] == [0, 1, 1]


async def test_a_gauge_has_the_value_at_the_end():
    """
    And Japanese words where there are some.
    """
    gauge = {
        "title": "Heat",
        "title_ja": "温度",
        "type": "gauge",
        "queries": [{"expr": "max(heat)", "legend": "most", "legend_ja": "最大"}],
    }
    data, _ = await found(board(gauge), language="ja")
    assert [(it.title, [(one.name, list(one.values)) for one in it.series]) for it in data.panels] == [
        ("温度", [("最大", [5.0])])
    ]


async def test_a_variable_has_the_values_of_its_label_and_chooses_among_series():
    """
    Whatever is in a value: it is no pattern.
    """
    of = board(
        {"title": "Heat", "queries": [{"expr": 'heat{place=~"$place"}'}]},
        variables=[{"name": "place", "title": "Place", "metric": "heat", "label": "place"}],
    )
    everything, _ = await found(of)
    assert everything.variables == {"place": ["attic", "cellar"]}
    assert [it.name for it in everything.panels[0].series] == ["place=attic", "place=cellar"]
    one, _ = await found(of, {"place": ["cellar"]})
    assert [it.name for it in one.panels[0].series] == ["place=cellar"]
    assert one.panels[0].expressions == ['heat{place=~"cellar"}']
    for hostile in ('"} or vector(1) or heat{place="', ".*", "a|cellar", "\\", "a\nb", "(", "$place"):
        nothing, _ = await found(of, {"place": [hostile]})
        assert (nothing.panels[0].error, list(nothing.panels[0].series)) == ("", []), hostile


async def test_the_largest_series_are_shown_and_the_others_counted():
    """
    A panel with thousands of series helps nobody.
    """
    many, at = MemorySource(), milliseconds(END)
    for number in range(MAX_SERIES + 7):
        many.add({"__name__": "heat", "place": f"{number:03}"}, [(at, float(number))])
    async with QueryExecutor(PromqlEngine(many)) as engine:
        data = await board_data(board({"title": "Heat", "queries": [{"expr": "heat"}]}), engine, SPAN, {})
    (panel,) = data.panels
    assert (len(panel.series), panel.hidden) == (MAX_SERIES, 7)
    assert panel.series[0].name == "place=007"


@pytest.mark.parametrize(("expr", "shown"), [("$__rate_interval", "120"), ("$__interval", "60"), ("$__range", "240")])
async def test_intervals_follow_from_the_range(expr, shown):
    """
    `$__rate_interval` has several samples in it, however small the step.
    """
    query = f"count_over_time(vector(1)[{expr}:1s]) >= {int(shown) - 1} <= {int(shown) + 1}"
    data, _ = await found(board({"title": "T", "queries": [{"expr": query}]}))
    assert data.panels[0].error == ""
    assert data.panels[0].series


async def test_a_board_marks_when_alerts_fired():
    """
    Each time of its own where an alert ended in between; what is pending is not marked.
    """
    samples, at = source(), milliseconds(END)
    labels = {"__name__": "ALERTS", "alertname": "too_hot", "severity": "critical", "job": "j"}
    times = [at - 4 * MINUTE, at - MINUTE, at - MINUTE // 2, at]
    samples.add({**labels, "alertstate": "firing"}, [(time, 1.0) for time in times])
    samples.add({**labels, "alertname": "soon", "alertstate": "pending"}, [(at, 1.0)])
    async with QueryExecutor(PromqlEngine(samples)) as engine:
        data = await board_data(board({"title": "Heat", "queries": [{"expr": "heat"}]}), engine, SPAN, {})
    marks = [((it.begin - at) // MINUTE, (it.end - at) // MINUTE, it.title, it.severity) for it in data.annotations]
    assert marks == [(-4, -4, "too_hot", "critical"), (-1, 0, "too_hot", "critical")]
