"""What is counted never falls in the order of time, but by a restart of what counts it."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from toban.core.labels import Labels
from toban.core.samples import Batch, SeriesBlock, is_absent, is_stale

COUNTED = re.compile(r".+_(total|sum|count|bucket)")
KEPT = frozenset({"vendure_db", "bullmq", "events"})
"""The jobs whose counters survive toban's restarts."""

EVERYTHING = '{__name__=~".+_(total|sum|count|bucket)", __name__!="db_client_connection_count"}[1d]'
"""Asks for all samples of all counters; how many connections a pool has is a gauge, whatever OpenTelemetry calls it."""

Points = Mapping[Labels, Sequence[tuple[int, float]]]


@dataclass(frozen=True)
class Fall:
    """A counter that fell: which, when, from what to what."""

    series: Labels
    at: int
    before: float
    after: float


def stored(batches: Iterable[Batch]) -> dict[Labels, list[tuple[int, float]]]:
    """Return what a store makes of batches: the later append counts; the ends of series left out."""
    found: dict[Labels, dict[int, float]] = {}
    for batch in batches:
        gone = is_stale(batch.values) | is_absent(batch.values)
        for labels, value, out in zip(batch.layout.series, batch.values.tolist(), gone.tolist(), strict=True):
            if not out:
                found.setdefault(labels, {})[batch.at] = value
    return {labels: sorted(points.items()) for labels, points in found.items()}


def selected(groups: Iterable[SeriesBlock]) -> dict[Labels, list[tuple[int, float]]]:
    """Return what a store answered."""
    found = {}
    for group in groups:
        for labels, values, out in zip(
            group.series, group.values, is_stale(group.values) | is_absent(group.values), strict=True
        ):
            found[labels] = list(zip(group.times[~out].tolist(), values[~out].tolist(), strict=True))
    return found


def answered(matrix: Iterable[Mapping[str, Any]]) -> dict[Labels, list[tuple[int, float]]]:
    """Return the samples of a range in brackets, as `/api/v1/query` answers it."""
    return {
        Labels(series["metric"]): [(round(float(at) * 1000), float(value)) for at, value in series["values"]]
        for series in matrix
    }


def falls(points: Points, restarts: Collection[int] = ()) -> list[Fall]:
    """
    Return where a counter fell.

    ``restarts`` are the times (milliseconds) at which toban began: what it counts in memory may fall from one life to
    the next, what it keeps may not.
    """
    found = []
    for labels, of_one in points.items():
        if not COUNTED.fullmatch(labels.name):
            continue
        for (earlier, before), (at, after) in pairwise(of_one):
            begun = labels.get("job") not in KEPT and any(earlier < restart <= at for restart in restarts)
            if after < before and not begun:
                found.append(Fall(labels, at, before, after))
    return found
