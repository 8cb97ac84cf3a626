"""Metrics that are made from log lines."""

import asyncio
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from toban.cli.metric_catalog import declared_families
from toban.core.labels import Labels
from toban.core.log_line import LogLevel, LogLine
from toban.core.metric_registry import MetricRegistry
from toban.core.samples import milliseconds
from toban.logs.custom_metric_settings import MAX_METRICS, RESERVED, LineMetricSettings
from toban.logs.custom_metrics import LABEL_VALUES, MAX_SERIES, REJECTED, LineMetrics
from toban.logs.line_store import LinePosition, StoredLine
from toban.logs.settings import LogSettings

AT = datetime(2026, 1, 1, tzinfo=UTC)


def stored(message: str = "", level: LogLevel = LogLevel.INFO, **fields) -> StoredLine:
    return StoredLine(LinePosition(milliseconds(AT), 1), LogLine(AT, level, message, **fields))


def metric(name: str = "shop_x_total", query: str = "paid", **settings) -> LineMetricSettings:
    return LineMetricSettings(name=name, query=query, **settings)


class Counting:
    """Metrics, and where they count."""

    def __init__(self, *settings: LineMetricSettings) -> None:
        self.registry, self.meters = MetricRegistry(), MetricRegistry()
        self.metrics = LineMetrics(settings, self.registry, self.meters)

    def add(self, *lines: StoredLine) -> None:
        asyncio.run(self.metrics.record(self.metrics.count(lines)))

    @property
    def series(self) -> dict[Labels, list[float]]:
        return {
            Labels({"__name__": family.name, **labels}): values for family, labels, values in self.registry.series()
        }


@pytest.mark.parametrize(
    "query",
    [
        "declined level:warn",
        '{level="warn"} |= "declined"',
        '{service="api"} |~ "decl.*" | order = "A1"',
        '{service="api"} | json | amount > 10',
    ],
)
def test_lines_that_a_query_finds_are_counted(query):
    it = Counting(metric(query=query))
    facts = {"order": "A1", "amount": 12}
    it.add(
        stored("Payment declined", LogLevel.WARN, service="api", facts=facts),
        stored("Payment settled", LogLevel.INFO, service="worker"),
    )
    assert it.series == {Labels(__name__="shop_x_total"): [1]}


def test_a_counter_without_labels_is_0_before_its_first_line():
    it = Counting(metric(), metric("shop_labelled_total", labels=("order",)))
    assert it.series == {Labels(__name__="shop_x_total"): [0]}


def test_a_counter_adds_the_value_of_its_lines():
    it = Counting(metric(value="amount", labels=("currency",)))
    it.add(*(stored("paid", facts={"amount": amount, "currency": "EUR"}) for amount in (1.5, "2")))
    assert it.series == {Labels(__name__="shop_x_total", currency="EUR"): [3.5]}


def test_a_histogram_counts_values_by_bucket():
    it = Counting(metric("shop_seconds", kind="histogram", value="took", buckets=(1, 2)))
    it.add(*(stored("paid", facts={"took": took}) for took in (0.5, 1, 9)))
    it.add(stored("paid", facts={"took": 2}))
    assert it.series == {Labels(__name__="shop_seconds"): [2, 3, 4, 12.5, 4]}


@pytest.mark.parametrize("value", ["x", "", "nan", "inf", -1, None])
def test_a_line_whose_value_is_no_number_is_rejected_and_counted(value):
    it = Counting(metric(value="amount"))
    it.add(stored("paid", facts={"amount": value}))
    assert it.series == {Labels(__name__="shop_x_total"): [0]}
    assert it.meters.value(REJECTED, metric="shop_x_total") == 1


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), max_size=1500))
def test_combinations_of_label_values_are_limited_and_no_line_is_lost(pairs):
    it = Counting(metric(labels=("a", "b")))
    it.add(*(stored("paid", facts={"a": str(one), "b": str(other)}) for one, other in pairs))
    assert sum(values[0] for values in it.series.values()) == len(pairs)
    assert len(it.series) <= MAX_SERIES + 1
    assert len({labels["a"] for labels in it.series}) <= LABEL_VALUES + 1


def test_a_reload_keeps_unchanged_metrics_and_starts_changed_ones_again():
    same, changed, removed = metric("shop_a_total"), metric("shop_b_total"), metric("shop_c_total")
    it = Counting(same, changed, removed)
    it.add(stored("paid"))
    counted = it.metrics.count([stored("paid")])
    it.metrics.configure([same, metric("shop_b_total", help="Another text.", labels=("order",))])
    asyncio.run(it.metrics.record(counted))
    it.add(stored("paid", facts={"order": "A1"}))
    assert it.series == {Labels(__name__="shop_a_total"): [3], Labels(__name__="shop_b_total", order="A1"): [1]}


def test_other_buckets_begin_anew():
    it = Counting(metric("shop_seconds", kind="histogram", value="took", buckets=(1, 2)))
    it.metrics.configure([metric("shop_seconds", kind="histogram", value="took", buckets=(5,))])
    it.add(stored("paid", facts={"took": 3}))
    assert it.series == {Labels(__name__="shop_seconds"): [1, 1, 3, 1]}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "shop_x"}, "call it shop_x_total"),
        ({"name": "shop-x_total"}, "invalid metric name 'shop-x_total'"),
        ({"name": "shop:x_total"}, "invalid metric name"),
        ({"name": "vendure_x_total"}, "call it shop_vendure_x_total"),
        ({"query": '{level="error"'}, "invalid query: parse error at line 1, col"),
        ({"query": '{level="error"} | json |'}, "invalid query"),
        ({"query": 'sum(count_over_time({level="error"}[5m]))'}, "write only its selector"),
        ({"labels": ("a b",)}, "invalid label name 'a b'"),
        ({"labels": ("le",)}, "has a meaning of its own"),
        ({"labels": ("a", "a")}, "give each label once"),
        ({"buckets": (1,)}, "a counter has none"),
        ({"kind": "histogram", "name": "shop_x"}, "needs the name of the label or fact"),
        ({"kind": "histogram", "name": "shop_x_count", "value": "took"}, "call it shop_x"),
        ({"kind": "histogram", "name": "shop_x", "value": "took", "buckets": (2, 1)}, "larger than the one before"),
    ],
)
def test_a_mistake_is_named_with_its_remedy(settings, message):
    with pytest.raises(ValidationError, match=message):
        metric(**settings)


def test_names_are_distinct_and_metrics_are_limited():
    with pytest.raises(ValidationError, match="duplicate name 'shop_x_total'"):
        LogSettings(metrics=(metric(), metric()))
    with pytest.raises(ValidationError, match=f"{MAX_METRICS} at most"):
        LogSettings(metrics=tuple(metric(f"shop_{number}_total") for number in range(MAX_METRICS + 1)))


def test_a_metric_of_ones_own_can_not_have_the_name_of_a_declared_one():
    # A name with a colon is that of a recording rule: none of one's own can have it.
    names = [family.name for _, family in declared_families() if ":" not in family.name]
    first_words = {name.partition("_")[0].lower() for name in names}
    assert first_words <= set(RESERVED)
