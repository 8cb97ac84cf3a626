"""The samples that a replay reads: those of the store, and those that its own recording rules have made."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from toban.core.errors import SampleLimitError
from toban.core.labels import NAME, Labels
from toban.core.matchers import Matcher, MatchOperator, matches_all
from toban.core.ports import SeriesSource
from toban.core.query_result import ResultSeries
from toban.core.samples import ABSENT, STALE, MetricFamily, SeriesBlock, is_absent

MOST_SAMPLES: Final = 4_000_000
"""How many samples of recording rules a replay holds, 16 bytes each."""


class _Series:
    """The samples of one series, in parts that follow each other."""

    def __init__(self) -> None:
        self._times: list[NDArray[np.int64]] = []
        self._values: list[NDArray[np.float64]] = []

    def add(self, times: NDArray[np.int64], values: NDArray[np.float64]) -> None:
        self._times.append(times)
        self._values.append(values)

    def samples(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        if len(self._times) > 1:
            self._times, self._values = [np.concatenate(self._times)], [np.concatenate(self._values)]
        return self._times[0], self._values[0]


class ReplaySource:
    """
    A ``SeriesSource`` over a store, in which the metrics of some recording rules are replaced by replayed ones.

    It is written and read in turns, never at once.
    """

    def __init__(self, store: SeriesSource, replaced: Sequence[str]) -> None:
        """``replaced`` are the metrics that the replay itself records."""
        self._store = store
        self._series: dict[str, dict[Labels, _Series]] = {name: {} for name in replaced}
        self._last: dict[tuple[str, int], frozenset[Labels]] = {}
        """The series that each writer has written at its last evaluation."""
        self._held = 0

    def record(self, writer: tuple[str, int], found: Mapping[Labels, ResultSeries], steps: NDArray[np.int64]) -> None:
        """
        Append what a ``writer``, a recording rule in one process, has made at some evaluations.

        Where a series is there at one of them and not at the next, that one has a stale marker, as in live evaluation.
        Raises ``SampleLimitError``.
        """
        if not len(steps):
            return
        before = self._last.get(writer, frozenset())
        for labels in dict.fromkeys([*found, *before]):
            values = np.full(len(steps), ABSENT)
            if labels in found:
                values[np.searchsorted(steps, found[labels].times)] = found[labels].values
            there = ~is_absent(values)
            previous = np.concatenate(([labels in before], there[:-1]))
            values[previous & ~there] = STALE
            kept = ~is_absent(values)
            self._held += int(kept.sum())
            if self._held > MOST_SAMPLES:
                raise SampleLimitError(MOST_SAMPLES)
            if kept.any():
                self._series[labels.name].setdefault(labels, _Series()).add(steps[kept], values[kept])
        self._last[writer] = frozenset(labels for labels, it in found.items() if it.times[-1] == steps[-1])

    def select(
        self, matchers: Sequence[Matcher], start: int, end: int, most: int | None = None
    ) -> Sequence[SeriesBlock]:
        """Return the samples of all series that match. Raises ``StoreError``, ``SampleLimitError``."""
        own = [
            SeriesBlock((labels,), times[first:last], values[None, first:last])
            for labels, series in self._matching(matchers)
            for times, values in [series.samples()]
            for first, last in [np.searchsorted(times, [start, end + 1])]
            if first < last
        ]
        stored = self._stored(matchers)
        return own if stored is None else [*own, *self._store.select(stored, start, end, most)]

    def series(self, matchers: Sequence[Matcher], start: int, end: int) -> Sequence[Labels]:
        """Return the labels of what ``select`` would return."""
        own = []
        for labels, series in self._matching(matchers):
            times, _ = series.samples()
            first, last = np.searchsorted(times, [start, end + 1])
            if first < last:
                own.append(labels)
        stored = self._stored(matchers)
        return own if stored is None else [*own, *self._store.series(stored, start, end)]

    def oldest(self, matchers: Sequence[Matcher]) -> int | None:
        """Return about when the oldest sample of all series that match is."""
        found = [int(series.samples()[0][0]) for _, series in self._matching(matchers)]
        stored = self._stored(matchers)
        if stored is not None and (oldest := self._store.oldest(stored)) is not None:
            found.append(oldest)
        return min(found, default=None)

    def families(self) -> Mapping[str, MetricFamily]:
        """Return the metadata of each metric, by name."""
        return self._store.families()

    def _matching(self, matchers: Sequence[Matcher]) -> list[tuple[Labels, _Series]]:
        return [
            (labels, series)
            for name, of_metric in self._series.items()
            if all(it.accepts(name) for it in matchers if it.name == NAME)
            for labels, series in of_metric.items()
            if matches_all(matchers, labels)
        ]

    def _stored(self, matchers: Sequence[Matcher]) -> Sequence[Matcher] | None:
        """Return the matchers of what the store has; None where all of it is replaced."""
        named = [it.value for it in matchers if it.name == NAME and it.operator is MatchOperator.EQUAL]
        if named:
            return None if named[0] in self._series else matchers
        return [*matchers, *(Matcher(NAME, MatchOperator.NOT_EQUAL, name) for name in self._series)]
