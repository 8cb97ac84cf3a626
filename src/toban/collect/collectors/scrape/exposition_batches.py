"""Turns exposition pages of one target into batches."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from toban.core.labels import LabelLimits
from toban.core.samples import Batch, Layout, MetricFamily
from toban.exposition.parser import UNTIMED, PageParser, ParsedPage

MAX_AHEAD: Final = 600_000
"""Milliseconds that a timestamp may lie in the future, as in Prometheus."""


@dataclass(frozen=True, slots=True)
class PageLayout:
    """The layout of a page's series, and the indexes of its values on the page."""

    families: Mapping[str, MetricFamily]
    layout: Layout
    indexes: NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class PageBatches:
    """A page's samples, one batch for each time; how many were duplicates, and how many were dropped as future."""

    batches: list[Batch]
    duplicates: int
    future: int


class PageReader:
    """
    Parses the pages of one target, one after the other, and adds the target's labels to their series.

    A label of the page that the target has too becomes `exported_…`, unless ``honor_labels`` keeps it. While the same
    series come in the same order, their layout is the same object.
    """

    def __init__(
        self,
        target: Mapping[str, str],
        limit: int,
        labels: LabelLimits = LabelLimits(),  # noqa: B008  # it never changes
        *,
        honor_labels: bool = False,
    ) -> None:
        self._target = target
        self._honor_labels = honor_labels
        self._parser = PageParser(limit, self._with_target, labels)
        self._layouts: dict[tuple[int, tuple[int, ...]], PageLayout] = {}

    def read(self, page: str, at: int, *, openmetrics: bool = False) -> PageBatches:
        """Parse a page that was read at a time in milliseconds. Raises ``ExpositionError``."""
        parsed = self._parser.read(page, openmetrics=openmetrics)
        layouts: dict[tuple[int, tuple[int, ...]], PageLayout] = {}
        batches, duplicates, future = list[Batch](), 0, 0
        for time, ids, values in _by_time(parsed, at):
            if time > at + MAX_AHEAD:
                future += len(ids)
                continue
            key = self._parser.generation, tuple(ids)
            found = self._layouts.get(key)
            if found is None or found.families is not self._parser.families:
                found = self._page_layout(ids)
            layouts[key] = found
            duplicates += len(ids) - len(found.layout)
            batches.append(Batch(found.layout, time, values[found.indexes]))
        # Layouts that this page did not use are dropped: changing series must not pile up.
        self._layouts = layouts
        return PageBatches(batches, duplicates, future)

    def _page_layout(self, ids: Sequence[int]) -> PageLayout:
        """Return a layout; of duplicate series the first counts, as in Prometheus."""
        families = self._parser.families
        indexes: dict[int, int] = {}
        for index, key in enumerate(ids):
            indexes.setdefault(key, index)
        layout = Layout([self._parser.labels[key] for key in indexes], families.values())
        return PageLayout(families, layout, np.fromiter(indexes.values(), np.intp, len(indexes)))

    def _with_target(self, labels: Mapping[str, str]) -> Mapping[str, str]:
        """Return the labels of a series with the target's."""
        if self._honor_labels:
            return {**self._target, **labels}
        moved: dict[str, str] = {}
        for name in sorted(self._target.keys() & labels.keys()):
            new = f"exported_{name}"
            while new in labels or new in self._target or new in moved:
                new = f"exported_{new}"
            moved[new] = labels[name]
        return {**labels, **moved, **self._target}


def _by_time(parsed: ParsedPage, at: int) -> Iterator[tuple[int, Sequence[int], NDArray[np.float64]]]:
    """Yield the values of a page grouped by their timestamps, the oldest first; those without one are of now."""
    values = np.array(parsed.values, np.float64)
    if not parsed.times:
        yield at, parsed.ids, values
        return
    groups: dict[int, list[int]] = {}
    for index, time in enumerate(parsed.times):
        groups.setdefault(at if time == UNTIMED else time, []).append(index)
    for time, indexes in sorted(groups.items()):
        yield time, [parsed.ids[index] for index in indexes], values[indexes]
