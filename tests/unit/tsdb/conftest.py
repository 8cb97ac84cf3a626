"""A store in a folder of its own, and what to put into it."""

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
"""The time at which the fake clock stands in the beginning: the start of a day."""

MINUTE = 60_000
HOUR = 60 * MINUTE
TEMPERATURE: MetricFamily = gauge("temperature", "How warm it is.", "celsius")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def meters() -> MetricRegistry:
    return MetricRegistry()


@pytest.fixture
def opened(tmp_path: Path, clock: FakeClock, meters: MetricRegistry) -> Opened:
    """Open the store; opened again it is the next start."""

    @contextmanager
    def open_store(window: timedelta = timedelta(hours=2), **settings: object) -> Iterator[Store]:
        with Store(tmp_path / "tsdb", TsdbSettings(**settings), clock, meters, window=window) as store:
            yield store

    return open_store


def layout(*names: str, **labels: str) -> Layout:
    """Return a layout of series that differ in their place."""
    return Layout([Labels(labels, __name__="temperature", place=name) for name in names], [TEMPERATURE])


def batch(of: Layout, at: int, *values: float) -> Batch:
    return Batch(of, at, np.array(values, np.float64))


def told(groups: Sequence[SeriesBlock]) -> dict[str, dict[int, int]]:
    """Return an answer as each series' samples by time, the values by their bits; a series twice is an error."""
    answer: dict[str, dict[int, int]] = {}
    for group in groups:
        assert (np.diff(group.times) > 0).all()
        for series, values in zip(group.series, group.values, strict=True):
            assert str(series) not in answer
            there = ~is_absent(values)
            bits = values[there].view(np.int64).tolist()
            answer[str(series)] = dict(zip(group.times[there].tolist(), bits, strict=True))
    return answer


def samples(groups: Sequence[SeriesBlock]) -> dict[str, dict[int, float]]:
    """Return an answer as each place's numbers by minutes since the start."""
    return {
        series["place"]: {
            (at - START) / MINUTE: value
            for at, value in zip(group.times.tolist(), values.tolist(), strict=True)
            if not is_absent(np.array([value]))[0]
        }
        for group in groups
        for series, values in zip(group.series, group.values, strict=True)
    }
