"""A store in a temporary folder, and batches for it."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from tests.fakes import FakeClock
from toban.core.labels import Labels
from toban.core.metric_registry import MetricRegistry
from toban.core.samples import Batch, Layout, MetricFamily, SeriesBlock, gauge, is_absent, milliseconds
from toban.tsdb.settings import TsdbSettings
from toban.tsdb.store import Store

Opened = Callable[..., AbstractContextManager[Store]]

START = milliseconds(FakeClock().now())
"""The fake clock's first time: the start of a day."""

MINUTE = 60_000
HOUR = 60 * MINUTE
TEMPERATURE: MetricFamily = gauge("temperature", "Temperature.", "celsius")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def meters() -> MetricRegistry:
    return MetricRegistry()


@pytest.fixture
def opened(tmp_path: Path, clock: FakeClock, meters: MetricRegistry) -> Opened:
    """Open the store; opening it again is a restart."""

    @contextmanager
    def open_store(window: timedelta = timedelta(hours=2), **settings: object) -> Iterator[Store]:
        with Store(tmp_path / "tsdb", TsdbSettings(**settings), clock, meters, window=window) as store:
            yield store

    return open_store


def layout(*names: str, **labels: str) -> Layout:
    """Return a layout of series that differ in their label `place`."""
    return Layout([Labels(labels, __name__="temperature", place=name) for name in names], [TEMPERATURE])


def batch(of: Layout, at: int, *values: float) -> Batch:
    return Batch(of, at, np.array(values, np.float64))


def bits_by_series(groups: Sequence[SeriesBlock]) -> dict[str, dict[int, int]]:
    """Return each series' samples by time, values as their bits; a series that is there twice is an error."""
    found: dict[str, dict[int, int]] = {}
    for group in groups:
        assert (np.diff(group.times) > 0).all()
        for series, values in zip(group.series, group.values, strict=True):
            assert str(series) not in found
            present = ~is_absent(values)
            bits = values[present].view(np.int64).tolist()
            found[str(series)] = dict(zip(group.times[present].tolist(), bits, strict=True))
    return found


def samples(groups: Sequence[SeriesBlock]) -> dict[str, dict[int, float]]:
    """Return each place's samples by minutes since the start."""
    return {
        series["place"]: {
            (at - START) / MINUTE: value
            for at, value in zip(group.times.tolist(), values.tolist(), strict=True)
            if not is_absent(np.array([value]))[0]
        }
        for group in groups
        for series, values in zip(group.series, group.values, strict=True)
    }
