"""A source of series in memory, for unit tests of rules and of the engine."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from toban.core.labels import NAME, Labels
from toban.core.matchers import Matcher, MatchOperator, matches_all
from toban.core.samples import ABSENT, MetricFamily, SeriesBlock, is_absent


class MemorySource:
    """
    A ``SeriesSource`` over series in memory, at any times, before 1970 too.

    ``shared`` puts all series into one block, with gaps where one has no sample at a time of another; otherwise each
    series is a block. The answers must be the same.
    """

    def __init__(self, *, shared: bool = False) -> None:
        self._shared = shared
        self._samples: dict[str, dict[Labels, dict[int, float]]] = {}
        """The samples of each series, by the name of its metric and its labels."""
        self._blocks: dict[str, list[SeriesBlock]] = {}
        """What was packed of them since they changed, by the name of the metric; all under no name when shared."""

    def add(self, labels: Mapping[str, str], samples: Iterable[tuple[int, float]]) -> None:
        """Add samples to a series: times in milliseconds, and values. A later one at the same time replaces."""
        series = Labels(labels)
        kept = self._samples.setdefault(series.name, {}).setdefault(series, {})
        kept.update((at, value) for at, value in samples if not is_absent(np.array([value]))[0])
        self._blocks.pop("" if self._shared else series.name, None)

    def oldest(self, matchers: Sequence[Matcher]) -> int | None:
        """Return the time of the oldest sample of all series that match, nothing where there is none."""
        found = [samples for labels, samples in self._all() if samples and matches_all(matchers, labels)]
        return min((min(samples) for samples in found), default=None)

    def select(
        self, matchers: Sequence[Matcher], start: int, end: int, most: int | None = None
    ) -> Sequence[SeriesBlock]:
        """Return the samples of all series that match."""
        found = []
        for block in self._candidates(matchers):
            rows = [row for row, labels in enumerate(block.series) if matches_all(matchers, labels)]
            if not rows:
                continue
            first, last = np.searchsorted(block.times, [start, end + 1])
            if first < last:
                values = (
                    block.values[rows, first:last] if len(rows) < len(block.series) else block.values[:, first:last]
                )
                found.append(SeriesBlock(tuple(block.series[row] for row in rows), block.times[first:last], values))
        return found

    def series(self, matchers: Sequence[Matcher], start: int, end: int) -> Sequence[Labels]:
        """Return the labels of all series that match."""
        return [
            labels
            for block in self.select(matchers, start, end)
            for labels, values in zip(block.series, block.values, strict=True)
            if not is_absent(values).all()
        ]

    def families(self) -> Mapping[str, MetricFamily]:
        """Return nothing: no metadata is kept."""
        return {}

    def _all(self) -> list[tuple[Labels, dict[int, float]]]:
        return [it for of_metric in self._samples.values() for it in of_metric.items()]

    def _candidates(self, matchers: Sequence[Matcher]) -> Iterator[SeriesBlock]:
        """Return blocks with all series that match, and with others."""
        if self._shared:
            if "" not in self._blocks:
                self._blocks[""] = [_block(sorted(self._all(), key=_in_order))] if self._samples else []
            yield from self._blocks[""]
            return
        equal = {it.value for it in matchers if it.name == NAME and it.operator is MatchOperator.EQUAL}
        for name in sorted(equal & self._samples.keys()) if equal else sorted(self._samples):
            if name not in self._blocks:
                self._blocks[name] = [_block([it]) for it in sorted(self._samples[name].items(), key=_in_order)]
            yield from self._blocks[name]


def _in_order(series: tuple[Labels, dict[int, float]]) -> tuple[tuple[str, str], ...]:
    return tuple(series[0].items())


def _block(series: Sequence[tuple[Labels, dict[int, float]]]) -> SeriesBlock:
    times = sorted({at for _, samples in series for at in samples})
    values = [[samples.get(at, ABSENT) for at in times] for _, samples in series]
    return SeriesBlock(
        tuple(labels for labels, _ in series),
        np.array(times, np.int64),
        np.array(values, np.float64).reshape(len(series), -1),
    )
