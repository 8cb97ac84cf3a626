"""Recorders: metrics in memory, exact ones, and durable counters that were stored and loaded."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from sqlalchemy import Connection

from tests.fakes import FakeClock, sample_values
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Recorder
from toban.core.samples import UndeclaredLabelsWarning, counter, gauge, histogram
from toban.state import durable_counters
from toban.state.backends import SqliteBackend
from toban.state.database import State

ORDERS = counter("orders_total", "", labels=("channel", "currency"))
QUEUE = gauge("queue_length", "")
AMOUNT = histogram("order_amount", "", (10, 100), labels=("channel",))

Recording = Callable[[Recorder], None]


@pytest.fixture(params=["memory", "exact", "durable"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


async def recorded(kind: str, folder: Path, record: Recording) -> Mapping[str, float | str]:
    """Return the series and values of what was recorded."""
    if kind != "durable":
        meters = MetricRegistry(exact=kind == "exact")
        record(meters)
        return sample_values(meters.read(1, {})[-1:])

    def store(connection: Connection) -> None:
        loaded = durable_counters.load(connection, "shop", [ORDERS, QUEUE, AMOUNT])
        record(loaded)
        durable_counters.save(connection, "shop", loaded)

    async with State(SqliteBackend(folder / "toban.db"), FakeClock(), MetricRegistry()) as state:
        await state.transaction(store)
        meters = await state.transaction(
            lambda connection: durable_counters.load(connection, "shop", [ORDERS, QUEUE, AMOUNT])
        )
    return sample_values(meters.read(1, {})[-1:])


async def test_counters_add_up_for_each_set_of_labels(kind: str, tmp_path: Path):
    """
    In whatever order the labels are given; without an amount they are raised by one.
    """

    def record(recorder: Recorder) -> None:
        recorder.add(ORDERS, channel="web", currency="EUR")
        recorder.add(ORDERS, 2.5, currency="EUR", channel="web")
        recorder.add(ORDERS, 7, channel="web", currency="JPY")

    assert await recorded(kind, tmp_path, record) == {
        'orders_total{channel="web", currency="EUR"}': 3.5,
        'orders_total{channel="web", currency="JPY"}': 7,
    }


async def test_a_gauge_has_the_value_that_was_set_last(kind: str, tmp_path: Path):

    def record(recorder: Recorder) -> None:
        recorder.set(QUEUE, 7)
        recorder.set(QUEUE, -0.5)

    assert await recorded(kind, tmp_path, record) == {"queue_length": -0.5}


async def test_a_value_is_in_the_bucket_of_its_bound_and_in_all_larger_ones(kind: str, tmp_path: Path):

    def record(recorder: Recorder) -> None:
        for value in (10, 10.5, 1000):
            recorder.observe(AMOUNT, value, channel="web")

    assert await recorded(kind, tmp_path, record) == {
        'order_amount_bucket{channel="web", le="10"}': 1,
        'order_amount_bucket{channel="web", le="100"}': 2,
        'order_amount_bucket{channel="web", le="+Inf"}': 3,
        'order_amount_sum{channel="web"}': 1020.5,
        'order_amount_count{channel="web"}': 3,
    }


@pytest.mark.parametrize(
    "labels", [{}, {"channel": "web"}, {"channel": "web", "currency": "EUR", "country": "JP"}], ids=len
)
async def test_labels_that_the_family_does_not_declare_are_a_warning(
    kind: str, tmp_path: Path, labels: Mapping[str, str]
):
    """
    Missing ones, too. The value is recorded: a wrong declaration loses no sample.
    """
    with pytest.warns(UndeclaredLabelsWarning, match="orders_total"):
        found = await recorded(kind, tmp_path, lambda recorder: recorder.add(ORDERS, 3, **labels))

    assert list(found.values()) == [3]


async def test_a_histogram_can_not_be_set_and_a_gauge_can_not_be_observed(kind: str, tmp_path: Path):

    def record(recorder: Recorder) -> None:
        recorder.set(QUEUE, 1)
        with pytest.raises(TypeError):
            recorder.observe(QUEUE, 1)
        recorder.observe(AMOUNT, 1, channel="web")
        with pytest.raises(TypeError):
            recorder.add(AMOUNT, 1, channel="web")

    found = await recorded(kind, tmp_path, record)
    assert found["queue_length"] == 1
    assert found['order_amount_count{channel="web"}'] == 1
