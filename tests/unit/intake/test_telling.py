"""What processes tell of themselves, under Prometheus' names."""

import pytest

from tests.captured import Intake
from tests.fakes import told
from tests.telemetry import attributes, metrics
from toban.intake.families import REJECTED
from toban.intake.naming import name
from toban.intake.nouns import Metric, Shape
from toban.intake.telling import SILENCE


def number(metric: str, value: float, sort: str = "gauge", unit: str = "1", **options: object) -> dict[str, object]:
    extra = {key: options.pop(key) for key in ("isMonotonic", "aggregationTemporality") if key in options}
    labels = attributes({key.replace("__", "."): one for key, one in options.items()})
    return {"name": metric, "unit": unit, sort: {**extra, "dataPoints": [{"attributes": labels, "asDouble": value}]}}


def histogram(
    metric: str, counts: list[int], bounds: list[float], total: float, **options: object
) -> dict[str, object]:
    point = {"bucketCounts": counts, "explicitBounds": bounds, "count": sum(counts), "sum": total, "attributes": []}
    told = {"aggregationTemporality": 2, "dataPoints": [point], **options}
    return {"name": metric, "unit": "s", "histogram": told}


async def taken(intake: Intake, *found: dict[str, object], **resource: object) -> dict[str, float | str]:
    answer = await intake.push("x.metrics.json", metrics(*found, **resource))
    assert answer.status == 200
    return told(intake.pushed.read(1, {}))


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        (("v8js.memory.heap.used", "By", Shape.GAUGE, False), "v8js_memory_heap_used_bytes"),
        (("nodejs.eventloop.utilization", "1", Shape.GAUGE, False), "nodejs_eventloop_utilization_ratio"),
        (("nodejs.eventloop.time", "s", Shape.SUM, True), "nodejs_eventloop_time_seconds_total"),
        (("db.client.connection.count", "{connection}", Shape.SUM, False), "db_client_connection_count"),
        (("http.server.duration", "ms", Shape.HISTOGRAM, False), "http_server_request_duration_seconds"),
        (("things.total", "", Shape.SUM, True), "things_total"),
        (("speed", "By/s", Shape.GAUGE, False), "speed_bytes_per_second"),
        (("ratio", "1", Shape.SUM, True), "ratio_total"),
        (("2xx.of-all", "", Shape.GAUGE, False), "key_2xx_of_all"),
    ],
)
def test_names_follow_the_rules_that_both_publish(metric, expected):
    """
    OpenTelemetry's compatibility with Prometheus: units, `_total`, what may stand in a name.
    """
    called, unit, shape, monotonic = metric

    assert name(Metric(called, unit, "", shape, monotonic=monotonic)) == expected


async def test_numbers_are_passed_on_as_they_stand():
    """
    By process; a label of toban's own makes room, one that is empty is none.
    """
    found = await taken(
        Intake(),
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
    } | {key: value for key, value in found.items() if key.startswith("vendure_telemetry")}


async def test_differences_are_added_up():
    """
    A process that only tells what is new since it last did.
    """
    intake = Intake()
    for _ in range(3):
        intake.clock.advance(1)
        body = metrics(
            number("done", 2, "sum", isMonotonic=True, aggregationTemporality=1),
            histogram("lag", [1, 1], [1], 5, aggregationTemporality=1),
            host=str(intake.clock.now()),
        )
        await intake.push("x.metrics.json", body)
    found = told(intake.pushed.read(1, {"x": "y"}))

    assert found['done_total{instance="m1", job="vendure", x="y"}'] == 6
    assert found['lag_seconds_bucket{instance="m1", job="vendure", le="1", x="y"}'] == 3
    assert found['lag_seconds_count{instance="m1", job="vendure", x="y"}'] == 6


async def test_a_process_that_falls_silent_has_ended():
    """
    Its series end; those of others stay, and the pools are added up anew.
    """
    intake = Intake()
    count = number("db.client.connection.count", 3, "sum", db__client__connection__state="idle")
    await taken(intake, number("heap", 1), count, **{"service.instance.id": "m1"})
    intake.clock.advance(SILENCE - 1)
    await taken(intake, number("heap", 2), count, **{"service.instance.id": "m2"})
    assert intake.numbers("postgres_connection_pool_size", "heap_ratio") == {
        'heap_ratio{instance="m1",job="vendure"}': 1,
        'heap_ratio{instance="m2",job="vendure"}': 2,
        'postgres_connection_pool_size{state="total"}': 6,
        'postgres_connection_pool_size{state="idle"}': 6,
    }

    intake.clock.advance(2)
    await intake.taking._tidy()
    assert intake.numbers("postgres_connection_pool_size", "heap_ratio") == {
        'heap_ratio{instance="m2",job="vendure"}': 2,
        'postgres_connection_pool_size{state="total"}': 3,
        'postgres_connection_pool_size{state="idle"}': 3,
    }

    intake.clock.advance(SILENCE)
    await intake.taking._tidy()
    assert intake.numbers("postgres_connection_pool_size", "heap_ratio") == {}


async def test_a_process_that_was_started_anew_may_count_in_other_steps():
    """
    Of a histogram: the old buckets end.
    """
    intake = Intake()
    await taken(intake, histogram("lag", [1, 1], [1], 5))
    found = await taken(intake, histogram("lag", [1, 1, 1], [2, 3], 6))

    assert [key for key in found if "lag_seconds_bucket" in key] == [
        'lag_seconds_bucket{instance="m1", job="vendure", le="2"}',
        'lag_seconds_bucket{instance="m1", job="vendure", le="3"}',
        'lag_seconds_bucket{instance="m1", job="vendure", le="+Inf"}',
    ]


async def test_what_is_not_counted_is_said():
    """
    Exponential histograms, numbers that are none, names that mean something else: a partial success that says so.
    """
    intake = Intake()
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
    answer = await intake.push("x.metrics.json", body)

    assert answer.status == 200
    assert b'"rejectedDataPoints":"7"' in answer.body
    assert b"2 are of a sort that toban doesn't count" in answer.body
    assert intake.meters.value(REJECTED, signal="metrics", reason="unsupported") == 2
    assert intake.numbers("fine_ratio") == {'fine_ratio{instance="m1",job="vendure"}': 1}
    assert intake.pushed.read(1, {}), "no two series are the same"


async def test_names_that_would_collide_are_refused():
    """
    One page can't hold a gauge `x_count` and a histogram `x`: whichever came first stays.
    """
    intake = Intake()
    await taken(intake, histogram("x", [1, 1], [1], 1))
    await taken(intake, number("x.seconds.count", 1, unit=""))
    await taken(intake, number("y.seconds.sum", 1, unit=""))
    await taken(intake, histogram("y", [1, 1], [1], 1))

    assert intake.meters.value(REJECTED, signal="metrics", reason="malformed") == 2
    assert intake.pushed.read(1, {})


async def test_series_have_a_bound():
    """
    Whatever a process makes of a label.
    """
    intake = Intake()
    points = [{"attributes": attributes({"id": str(each)}), "asInt": "1"} for each in range(6000)]
    answer = await intake.push("x.metrics.json", metrics({"name": "wide", "gauge": {"dataPoints": points}}))

    assert b'"1000 would be too many series"' in answer.body
    assert len(intake.numbers("wide")) == 5000
