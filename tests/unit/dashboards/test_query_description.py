"""What queries read, and the units of their results."""

import pytest

from toban.core.number_format import Unit
from toban.core.samples import MetricFamily, MetricType
from toban.dashboards.query_description import describe_query, family_of
from toban.promql.parser import ParseError

FAMILIES = {
    it.name: it
    for it in (
        MetricFamily("took_seconds", MetricType.HISTOGRAM, "Duration.", "seconds"),
        MetricFamily("busy_seconds_total", MetricType.COUNTER, "Time.", "seconds"),
        MetricFamily("size_bytes", MetricType.GAUGE, "Size.", "bytes"),
        MetricFamily("sent_bytes_total", MetricType.COUNTER, "Sent.", "bytes"),
        MetricFamily("orders_total", MetricType.COUNTER, "Orders."),
    )
}


@pytest.mark.parametrize(
    ("query", "unit"),
    [
        ("size_bytes", Unit.BYTES),
        ("sum by (job) (avg_over_time(size_bytes[5m]))", Unit.BYTES),
        ("-size_bytes offset 1h > 5", Unit.BYTES),
        ("topk(3, size_bytes) or vector(0)", Unit.BYTES),
        ("size_bytes - size_bytes offset 1d", Unit.BYTES),
        ("count(size_bytes)", Unit.SHORT),
        ("size_bytes / size_bytes", Unit.NONE),
        ("size_bytes > bool 5", Unit.NONE),
        ("absent(size_bytes)", Unit.SHORT),
        ("rate(sent_bytes_total[5m])", Unit.BYTES_PER_SECOND),
        ("sum(rate(orders_total[5m]))", Unit.PER_SECOND),
        ("increase(orders_total[1h])", Unit.SHORT),
        ("rate(busy_seconds_total[5m])", Unit.NONE),
        ("histogram_quantile(0.95, sum by (le) (rate(took_seconds_bucket[5m])))", Unit.SECONDS),
        ("took_seconds_bucket", Unit.SHORT),
        ("took_seconds_count", Unit.SHORT),
        ("took_seconds_sum", Unit.SECONDS),
        ("cpu_usage_percent", Unit.PERCENT),
        ("elsewhere_bytes", Unit.BYTES),
        ("last_success_timestamp_seconds", Unit.NONE),
        ("max_over_time(rate(orders_total[5m])[1h:])", Unit.PER_SECOND),
        ("time()", Unit.SHORT),
        ('{job="x"}', Unit.SHORT),
        ("1 + 1", Unit.SHORT),
    ],
)
def test_a_result_has_the_unit_that_follows_from_its_metrics(query, unit):
    """
    Where an operator changes it into one that nobody knows, it has none.
    """
    assert describe_query(query, FAMILIES).unit is unit


def test_the_metrics_of_a_query_are_named_once():
    assert describe_query('a + on () b / a + {__name__="c"} + {job="x"}', {}).metrics == ("a", "b", "c")


def test_a_part_of_a_histogram_belongs_to_its_family():
    assert family_of("took_seconds_bucket", FAMILIES) is FAMILIES["took_seconds"]
    assert family_of("orders_count", FAMILIES) is None


def test_what_is_no_query_is_refused_with_its_place():
    with pytest.raises(ParseError, match=r"^1:4: parse error"):
        describe_query("sum(", {})
