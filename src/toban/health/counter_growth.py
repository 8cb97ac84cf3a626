"""Exact increases of counters, from their samples: `increase` extrapolates, which is wrong for a number of orders."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import numpy as np

from toban.core.ports import InstantQueryEngine
from toban.core.query_result import ResultSeries

LOOKBACK: Final = timedelta(hours=6)
"""How long the last value of a counter counts where toban did not run."""

Key = tuple[str, ...]
"""The values of the labels that a counter is split by."""

Floats = np.ndarray[tuple[int], np.dtype[np.float64]]
Flags = np.ndarray[tuple[int], np.dtype[np.bool_]]


async def read_growth(
    engine: InstantQueryEngine,
    counter: str,
    by: Sequence[str],
    times: Sequence[int],
    lookback: timedelta = LOOKBACK,
) -> dict[Key, Sequence[float | None]]:
    """
    Return how much a counter has grown at some times (milliseconds) since its first sample, by some labels.

    It is None where no sample is new enough. A series that is new begins with its first sample, which toban stores as
    zero; after a decrease it was reset to zero. The first time is the earliest.

    Raises ``QueryError`` or ``StoreError``.
    """
    back, latest = lookback // timedelta(milliseconds=1), max(times)
    seconds = -((times[0] - back - latest) // 1000)
    result = await engine.instant(f"{counter}[{seconds}s]", latest)
    marks = np.asarray(times, np.int64)
    found: dict[Key, tuple[Floats, Flags]] = {}
    for series in result.series:
        key = tuple(series.labels.get(label, "") for label in by)
        grown, is_known = found.setdefault(key, (np.zeros(len(marks)), np.zeros(len(marks), np.bool_)))
        place = np.searchsorted(series.times, marks, "right") - 1
        newest = np.maximum(place, 0)
        grown += np.where(place >= 0, _cumulated(series)[newest], 0.0)
        is_known |= (place >= 0) & (marks - series.times[newest] < back)
    return {
        key: [it if known else None for it, known in zip(grown.tolist(), is_known.tolist(), strict=True)]
        for key, (grown, is_known) in found.items()
    }


async def read_increase(
    engine: InstantQueryEngine,
    counter: str,
    by: Sequence[str],
    begin: int,
    end: int,
    lookback: timedelta = LOOKBACK,
) -> dict[Key, float]:
    """
    Return the increase of a counter between two times (milliseconds), or since it is counted, by some labels.

    Raises like ``read_growth``.
    """
    grown = await read_growth(engine, counter, by, (begin, end), lookback)
    return {key: rounded(last - (first or 0.0)) for key, (first, last) in grown.items() if last is not None}


def _cumulated(series: ResultSeries) -> Floats:
    """Return by how much a series has grown since its first sample, at each of its samples."""
    steps = np.diff(series.values)
    return np.concatenate([[0.0], np.cumsum(np.where(steps < 0, series.values[1:], steps))])


def rounded(increase: float) -> float:
    """Return an increase without the noise of the difference of two large sums."""
    return max(0.0, round(increase, 6))
