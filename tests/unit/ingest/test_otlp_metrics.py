"""OTLP metrics under Prometheus' names."""

import re

import pytest
from google.protobuf.json_format import MessageToJson
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from tests.captured_telemetry import Ingest
from tests.fakes import sample_values
from tests.telemetry import CORE, attributes, metrics, span, traces
from toban.exposition.writer import sample_lines
from toban.ingest.metric_families import REJECTED
from toban.ingest.otlp_metrics import EXPIRY_SECONDS
from toban.ingest.otlp_model import Metric, MetricShape
from toban.ingest.prometheus_names import metric_name


def number(
    metric: str, value: float, data_type: str = "gauge", unit: str = "1", **options: object
) -> dict[str, object]:
    extra = {key: options.pop(key) for key in ("isMonotonic", "aggregationTemporality") if key in options}
    extra = {"aggregationTemporality": 2, **extra} if data_type == "sum" else extra
    labels = attributes({key.replace("__", "."): one for key, one in options.items()})
    return {
        "name": metric,
        "unit": unit,
        data_type: {**extra, "dataPoints": [{"attributes": labels, "asDouble": value}]},
    }


def histogram(
    metric: str, counts: list[int], bounds: list[float], total: float, **options: object
) -> dict[str, object]:
    point = {"bucketCounts": counts, "explicitBounds": bounds, "count": sum(counts), "sum": total, "attributes": []}
    data = {"aggregationTemporality": 2, "dataPoints": [point], **options}
    return {"name": metric, "unit": "s", "histogram": data}


async def pushed(ingest: Ingest, *pushed_metrics: dict[str, object], **resource: object) -> dict[str, float | str]:
    response = await ingest.push("x.metrics.json", metrics(*pushed_metrics, **resource))
    assert response.status == 200
    return sample_values(ingest.pushed.read(1, {}))


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (("v8js.memory.heap.used", "By", MetricShape.GAUGE, False), "v8js_memory_heap_used_bytes"),
        (("nodejs.eventloop.utilization", "1", MetricShape.GAUGE, False), "nodejs_eventloop_utilization_ratio"),
        (("nodejs.eventloop.time", "s", MetricShape.SUM, True), "nodejs_eventloop_time_seconds_total"),
        (("db.client.connection.count", "{connection}", MetricShape.SUM, False), "db_client_connection_count"),
        (("http.server.duration", "ms", MetricShape.HISTOGRAM, False), "http_server_request_duration_seconds"),
        (("things.total", "", MetricShape.SUM, True), "things_total"),
        (("speed", "By/s", MetricShape.GAUGE, False), "speed_bytes_per_second"),
        (("ratio", "1", MetricShape.SUM, True), "ratio_total"),
        (("2xx.of-all", "", MetricShape.GAUGE, False), "key_2xx_of_all"),
    ],
)
def test_names_follow_the_rules_that_both_publish(metric, expected):
    """
    OpenTelemetry's compatibility with Prometheus: units, `_total`, valid characters.
    """
    name, unit, shape, monotonic = metric

    assert metric_name(Metric(name, unit, "", shape, monotonic=monotonic)) == expected


async def test_cumulative_values_are_unchanged():
    """
    By process; reserved labels are renamed, empty ones left out.
    """
    found = await pushed(
        Ingest(),
        number("jobs.done", 7, "sum", isMonotonic=True, aggregationTemporality=2, job="x", le="y", empty=""),
        histogram("lag", [1, 2, 3], [0.1, 1], 9.5),
    )
    process = 'instance="m1", job="vendure"'

    assert found == {
        f'jobs_done_total{{exported_job="x", exported_le="y", {process}}}': 7,
        f'lag_seconds_bucket{{{process}, le="0.1"}}': 1,
        f'lag_seconds_bucket{{{process}, le="1"}}': 3,
        f'lag_seconds_bucket{{{process}, le="+Inf"}}': 6,
        f"lag_seconds_sum{{{process}}}": 9.5,
        f"lag_seconds_count{{{process}}}": 6,
    } | {key: value for key, value in found.items() if key.startswith("vendure_")}


async def test_deltas_are_added():
    """
    Of sums and histograms.
    """
    ingest = Ingest()
    for _ in range(3):
        ingest.clock.advance(1)
        body = metrics(
            number("done", 2, "sum", isMonotonic=True, aggregationTemporality=1),
            histogram("lag", [1, 1], [1], 5, aggregationTemporality=1),
            host=str(ingest.clock.now()),
        )
        await ingest.push("x.metrics.json", body)
    found = sample_values(ingest.pushed.read(1, {"x": "y"}))

    assert found['done_total{instance="m1", job="vendure", x="y"}'] == 6
    assert found['lag_seconds_bucket{instance="m1", job="vendure", le="1", x="y"}'] == 3
    assert found['lag_seconds_count{instance="m1", job="vendure", x="y"}'] == 6


async def test_series_of_a_process_that_stops_pushing_end():
    """
    Those of others stay, and the pools are summed again.
    """
    ingest = Ingest()
    count = number("db.client.connection.count", 3, "sum", db__client__connection__state="idle")
    await pushed(ingest, number("heap", 1), count, **{"service.instance.id": "m1"})
    ingest.clock.advance(EXPIRY_SECONDS - 1)
    await pushed(ingest, number("heap", 2), count, **{"service.instance.id": "m2"})
    assert ingest.values("vendure_process_info") == {
        'vendure_process_info{instance="m1",job="vendure",role="server"}': 1,
        'vendure_process_info{instance="m2",job="vendure",role="server"}': 1,
    }
    assert ingest.values("postgres_connection_pool_size", "heap_ratio") == {
        'heap_ratio{instance="m1",job="vendure"}': 1,
        'heap_ratio{instance="m2",job="vendure"}': 2,
        'postgres_connection_pool_size{state="total"}': 6,
        'postgres_connection_pool_size{state="idle"}': 6,
    }

    ingest.clock.advance(2)
    await ingest.receiver._expire()
    assert list(ingest.values("vendure_process_info")) == [
        'vendure_process_info{instance="m2",job="vendure",role="server"}'
    ]
    assert ingest.values("postgres_connection_pool_size", "heap_ratio") == {
        'heap_ratio{instance="m2",job="vendure"}': 2,
        'postgres_connection_pool_size{state="total"}': 3,
        'postgres_connection_pool_size{state="idle"}': 3,
    }

    ingest.clock.advance(EXPIRY_SECONDS)
    await ingest.receiver._expire()
    assert ingest.values("postgres_connection_pool_size", "heap_ratio") == {}


async def test_a_restarted_process_may_have_other_buckets():
    """
    The old ones end.
    """
    ingest = Ingest()
    await pushed(ingest, histogram("lag", [1, 1], [1], 5))
    found = await pushed(ingest, histogram("lag", [1, 1, 1], [2, 3], 6))

    assert [key for key in found if "lag_seconds_bucket" in key] == [
        'lag_seconds_bucket{instance="m1", job="vendure", le="2"}',
        'lag_seconds_bucket{instance="m1", job="vendure", le="3"}',
        'lag_seconds_bucket{instance="m1", job="vendure", le="+Inf"}',
    ]


async def test_rejected_points_are_in_the_response():
    """
    Exponential histograms, invalid values, names in use: a partial success with the reasons.
    """
    ingest = Ingest()
    exponential = {"name": "x", "exponentialHistogram": {"dataPoints": [{}, {}]}}
    body = metrics(
        exponential,
        number("vendure.spans.total", 1, "sum", isMonotonic=True),
        number("broken", float("nan")) | {"gauge": {"dataPoints": [{"asDouble": "NaN"}, {"asDouble": "x"}, {}]}},
        histogram("odd", [1], [1, 2], 5),
        number("fine", 1),
        number("fine", 1, "sum", isMonotonic=False),
        histogram("fine.ratio", [1, 1], [1], 1),
    )
    response = await ingest.push("x.metrics.json", body)

    assert response.status == 200
    assert b'"rejectedDataPoints":"7"' in response.body
    assert b"2 are of an unsupported type" in response.body
    assert ingest.meters.value(REJECTED, signal="metrics", reason="unsupported") == 2
    assert ingest.values("fine_ratio") == {'fine_ratio{instance="m1",job="vendure"}': 1}
    assert ingest.pushed.read(1, {}), "no two series are the same"


async def test_colliding_names_are_rejected():
    """
    There can't be both a gauge `x_count` and a histogram `x`: the first one stays.
    """
    ingest = Ingest()
    await pushed(ingest, histogram("x", [1, 1], [1], 1))
    await pushed(ingest, number("x.seconds.count", 1, unit=""))
    await pushed(ingest, number("y.seconds.sum", 1, unit=""))
    await pushed(ingest, histogram("y", [1, 1], [1], 1))

    assert ingest.meters.value(REJECTED, signal="metrics", reason="collision") == 2
    assert ingest.pushed.read(1, {})


async def test_series_are_bounded():
    """
    Whatever values a label has.
    """
    ingest = Ingest()
    points = [{"attributes": attributes({"id": str(each)}), "asInt": "1"} for each in range(6000)]
    response = await ingest.push("x.metrics.json", metrics({"name": "wide", "gauge": {"dataPoints": points}}))

    assert b'"1000 exceed the limit of series, processes or labels"' in response.body
    assert len(ingest.values("wide")) == 5000


def point(value: float | None, **attributes_: object) -> dict[str, object]:
    """Return a data point with attributes; without a value it has the flag that none was recorded."""
    labels = attributes({key.replace("__", "."): one for key, one in attributes_.items()})
    return {"attributes": labels, **({"flags": 1, "asDouble": 0} if value is None else {"asDouble": value})}


def counts(*points: dict[str, object], name: str = "m", delta: bool = False) -> dict[str, object]:
    return {
        "name": name,
        "sum": {"isMonotonic": True, "aggregationTemporality": 1 if delta else 2, "dataPoints": list(points)},
    }


async def test_values_that_differ_beyond_a_labels_length_are_two_series():
    """
    In any order: two counters that grow by 4 grow by 4 each, not by 222,804.
    """
    ingest = Ingest()
    page = "https://shop.example/" + "p" * 150
    for step in range(5):
        points = [point(100_000 + step, url=page + "/A"), point(5 + step, url=page + "/B")]
        await pushed(ingest, counts(*points[:: 1 if step % 2 else -1]))

    found = ingest.values("m_total")
    assert sorted(found.values()) == [9, 100_004]
    assert all(len(re.search('url="([^"]*)"', series)[1]) == 120 for series in found)  # type: ignore[index]  # each has one


LONG = st.text("ab/.é日", min_size=110, max_size=260)


@given(st.lists(LONG | LONG.map(lambda text: text + "x"), min_size=2, max_size=6, unique=True))
async def test_different_texts_are_different_labels(texts):
    """
    Of any length; attributes, service instances and methods.
    """
    ingest = Ingest()
    await pushed(ingest, counts(*(point(1, x=text) for text in texts)))
    for text in texts:
        await ingest.push("x.metrics.json", metrics(number("heap", 1), service="s", **{"service.instance.id": text}))
        await ingest.push("x.traces.json", traces(span(text, CORE, trace=1)))

    assert len(ingest.values("m_total")) == len(texts)
    assert len(ingest.values("heap_ratio")) == len(texts)
    assert len(ingest.values("vendure_service_duration_seconds")) == len(texts)


async def test_attributes_of_one_name_share_a_label():
    """
    As in Prometheus' translation of OTLP: in order of their names, joined by semicolons.
    """
    ingest = Ingest()
    await pushed(ingest, counts(point(1, a_b="y", a__b="x", job="z", exported_job="w")))

    assert ingest.values("m_total") == {
        'm_total{a_b="x;y",exported_job="w;z",instance="m1",job="vendure"}': 1,
    }


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (counts(point(1), name="m.a"), counts(point(2), name="m_a")),
        (counts(point(1, a__b="x")), counts(point(2, a_b="x"))),
        (counts(point(1, key="token=one")), counts(point(2, key="token=two"))),
    ],
    ids=["metrics", "attributes", "secrets"],
)
async def test_the_second_of_two_series_with_the_same_labels_is_rejected(first, second):
    """
    Until the first has ended.
    """
    ingest = Ingest()
    for _ in range(2):
        ingest.clock.advance(1)
        body = metrics(first, second, at=str(ingest.clock.now()))
        assert b'"rejectedDataPoints":"1"' in (await ingest.push("x.metrics.json", body)).body
        assert list(ingest.values("m_total", "m_a_total").values()) == [1]
    assert ingest.meters.value(REJECTED, signal="metrics", reason="collision") == 2

    ingest.clock.advance(EXPIRY_SECONDS - 1)
    await ingest.push("x.metrics.json", metrics(second))
    assert list(ingest.values("m_total", "m_a_total").values()) == [1]
    ingest.clock.advance(2)
    await ingest.push("x.metrics.json", metrics(second, again=True))
    assert list(ingest.values("m_total", "m_a_total").values()) == [2]


async def test_names_in_other_scripts_are_kept():
    """
    `m.日本` and `m.中国` are two metrics.
    """
    ingest = Ingest()
    await pushed(ingest, counts(point(1), name="m.日本"), counts(point(2, チーム="x"), name="m.中国"))

    process = 'instance="m1",job="vendure"'
    assert ingest.values("m_日本_total", "m_中国_total") == {
        f"m_日本_total{{{process}}}": 1,
        f'm_中国_total{{{process},チーム="x"}}': 2,
    }


async def test_a_histogram_without_a_sum_has_none():
    """
    Zero would be a mean of zero; with a sum it has one again.
    """
    ingest = Ingest()
    without = histogram("lag", [1, 2], [1], 0)
    del without["histogram"]["dataPoints"][0]["sum"]  # type: ignore[index]  # JSON
    await pushed(ingest, without)
    found = {
        line.labels.name: line.value for line in sample_lines(ingest.pushed.read(2, {})) if "lag" in line.labels.name
    }
    assert found == {"lag_seconds_bucket": 3, "lag_seconds_count": 3}

    await pushed(ingest, histogram("lag", [1, 3], [1], 7))
    assert ("lag_seconds_sum", 7) in {
        (line.labels.name, line.value) for line in sample_lines(ingest.pushed.read(3, {}))
    }


@pytest.mark.parametrize("encoding", ["json", "pb"])
async def test_deltas_of_a_histogram_once_without_a_sum_have_none(encoding):
    """
    The missing delta is unknown.
    """
    ingest = Ingest()
    for step, total in enumerate((None, 5.0)):
        message = ExportMetricsServiceRequest()
        data = message.resource_metrics.add().scope_metrics.add().metrics.add(name="lag").histogram
        data.aggregation_temporality = 1
        data.data_points.add(bucket_counts=[1, 1], explicit_bounds=[1], count=2, sum=total, time_unix_nano=step)
        body = message.SerializeToString() if encoding == "pb" else MessageToJson(message).encode()
        await ingest.push(f"x.metrics.{encoding}", body)

    found = {line.labels.name: line.value for line in sample_lines(ingest.pushed.read(1, {}))}
    assert found["lag_count"] == 4
    assert "lag_sum" not in found


async def test_a_series_without_recorded_value_has_ended():
    """
    It is not zero.
    """
    ingest = Ingest()
    pool = number("db.client.connection.count", 3, "sum", db__client__connection__state="idle")
    await pushed(ingest, counts(point(7, k="v"), point(1)), histogram("lag", [1, 2], [1], 0), pool)
    ended = histogram("lag", [1, 2], [1], 0)
    for one in (ended["histogram"], pool["sum"]):
        one["dataPoints"][0]["flags"] = 1  # type: ignore[index]  # JSON
    found = await pushed(ingest, counts(point(None, k="v"), point(2)), ended, pool)

    assert {series for series in found if not series.startswith("vendure_")} == {
        'm_total{instance="m1", job="vendure"}'
    }
    await pushed(ingest, counts(point(8, k="v")))
    assert ingest.values("m_total")['m_total{instance="m1",job="vendure",k="v"}'] == 8


@pytest.mark.parametrize("amount", [-1, float("-inf"), float("inf")])
async def test_negative_and_infinite_deltas_of_a_counter_are_rejected(amount):
    """
    Sums that are not monotonic may decrease.
    """
    ingest = Ingest()
    written = {"dataPoints": [point(3), {"asDouble": str(amount)}]}
    body = metrics(
        {"name": "m", "sum": {"isMonotonic": True, "aggregationTemporality": 1, **written}},
        {"name": "n", "sum": {"aggregationTemporality": 1, "dataPoints": [point(3), point(-1)]}},
    )
    response = await ingest.push("x.metrics.json", body)

    assert b'"rejectedDataPoints":"1"' in response.body
    assert ingest.meters.value(REJECTED, signal="metrics", reason="negative") == 1
    assert list(ingest.values("m_total", "n").values()) == [3, 2]
    assert ingest.values("postgres_connection_pool_size") == {}


async def test_deltas_of_a_pool_are_added():
    """
    5 connections, then 2 fewer: 3.
    """
    ingest = Ingest()
    for amount in (5, -2):
        count = number("db.client.connection.count", amount, "sum", aggregationTemporality=1, state="idle")
        await pushed(ingest, count)
    assert ingest.values("postgres_connection_pool_size")['postgres_connection_pool_size{state="total"}'] == 3


async def test_bytes_and_lists_are_labels():
    """
    In base64 and as JSON.
    """
    ingest = Ingest()
    values = [{"bytesValue": "AAE="}, {"bytesValue": "AAI="}, {"arrayValue": {"values": [{"intValue": 1}]}}]
    points = [{"asInt": 1, "attributes": [{"key": "k", "value": value}]} for value in values]
    await pushed(ingest, counts(*points))

    assert sorted(re.findall('k="([^"]*)"', " ".join(ingest.values("m_total")))) == ["AAE=", "AAI=", "[1]"]
