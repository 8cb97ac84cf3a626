"""Counters decrease in the order of time only by a restart of their process."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from toban.core.labels import Labels
from toban.core.samples import Batch, SeriesBlock, is_absent, is_stale

COUNTER_NAME = re.compile(r".+_(total|sum|count|bucket)")
DURABLE_JOBS = frozenset({"vendure_db", "bullmq", "events"})
"""The jobs whose counters continue after a restart of toban."""

ALL_COUNTERS = '{__name__=~".+_(total|sum|count|bucket)", __name__!="db_client_connection_count"}[1d]'
"""Selects all samples of all counters; the size of a connection pool is a gauge, whatever OpenTelemetry calls it."""

Points = Mapping[Labels, Sequence[tuple[int, float]]]


@dataclass(frozen=True)
class Decrease:
    """A decrease of a counter."""

    series: Labels
    at: int
    before: float
    after: float


def stored_samples(batches: Iterable[Batch]) -> dict[Labels, list[tuple[int, float]]]:
    """Return the samples that a store would have: the later append counts; staleness markers are left out."""
    found: dict[Labels, dict[int, float]] = {}
    for batch in batches:
        absent = is_stale(batch.values) | is_absent(batch.values)
        for labels, value, out in zip(batch.layout.series, batch.values.tolist(), absent.tolist(), strict=True):
            if not out:
                found.setdefault(labels, {})[batch.at] = value
    return {labels: sorted(points.items()) for labels, points in found.items()}


def selected_samples(groups: Iterable[SeriesBlock]) -> dict[Labels, list[tuple[int, float]]]:
    """Return the samples that a store returned."""
    found = {}
    for group in groups:
        for labels, values, out in zip(
            group.series, group.values, is_stale(group.values) | is_absent(group.values), strict=True
        ):
            found[labels] = list(zip(group.times[~out].tolist(), values[~out].tolist(), strict=True))
    return found


def api_samples(matrix: Iterable[Mapping[str, Any]]) -> dict[Labels, list[tuple[int, float]]]:
    """Return the samples of a range selector, as `/api/v1/query` returns them."""
    return {
        Labels(series["metric"]): [(round(float(at) * 1000), float(value)) for at, value in series["values"]]
        for series in matrix
    }


def decreases(points: Points, restarts: Collection[int] = ()) -> list[Decrease]:
    """
    Return the decreases of counters.

    ``restarts`` are the times (milliseconds) at which toban started: counters in memory may decrease there,
    durable ones may not.
    """
    found = []
    for labels, of_one in points.items():
        if not COUNTER_NAME.fullmatch(labels.name):
            continue
        for (earlier, before), (at, after) in pairwise(of_one):
            restarted = labels.get("job") not in DURABLE_JOBS and any(earlier < restart <= at for restart in restarts)
            if after < before and not restarted:
                found.append(Decrease(labels, at, before, after))
    return found
