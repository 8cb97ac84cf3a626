"""What the pages of one target come to."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from toban.core.labels import LabelLimits
from toban.core.samples import Batch, Layout, MetricFamily
from toban.exposition.parser import UNTIMED, PageParser, ParsedPage

AHEAD: Final = 600_000
"""How many milliseconds a sample's own time may lie in the future: Prometheus grants as many."""


@dataclass(frozen=True, slots=True)
class PageLayout:
    """What the series of a page come to: a layout, and which numbers of the page belong to it."""

    families: Mapping[str, MetricFamily]
    layout: Layout
    chosen: NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class PageBatches:
    """A page's numbers, one batch for each time; how many were there twice, and how many are of the future."""

    batches: list[Batch]
    duplicates: int
    ahead: int


class PageReader:
    """
    Reads the pages of one target, one after the other, and gives their series the target's labels.

    A label of the page that the target has too becomes `exported_…`, unless ``honor`` lets it stand. While the same
    series come in the same order, their layout is the same object.
    """

    def __init__(
        self,
        target: Mapping[str, str],
        limit: int,
        labels: LabelLimits = LabelLimits(),  # noqa: B008  # it never changes
        *,
        honor: bool = False,
    ) -> None:
        self._target = target
        self._honor = honor
        self._reader = PageParser(limit, self._dressed, labels)
        self._forms: dict[tuple[int, tuple[int, ...]], PageLayout] = {}

    def read(self, page: str, at: int, *, openmetrics: bool = False) -> PageBatches:
        """Read a page at a time in milliseconds. Raises ``ExpositionError``."""
        reading = self._reader.read(page, openmetrics=openmetrics)
        forms: dict[tuple[int, tuple[int, ...]], PageLayout] = {}
        batches, duplicates, ahead = list[Batch](), 0, 0
        for time, ids, values in _by_time(reading, at):
            if time > at + AHEAD:
                ahead += len(ids)
                continue
            key = self._reader.generation, tuple(ids)
            form = self._forms.get(key)
            if form is None or form.families is not self._reader.families:
                form = self._form(ids)
            forms[key] = form
            duplicates += len(ids) - len(form.layout)
            batches.append(Batch(form.layout, time, values[form.chosen]))
        # What this page did not have is forgotten: what comes and goes must not pile up.
        self._forms = forms
        return PageBatches(batches, duplicates, ahead)

    def _form(self, ids: Sequence[int]) -> PageLayout:
        """Draw up a layout; of a series that is there twice the first counts, as with Prometheus."""
        families = self._reader.families
        places: dict[int, int] = {}
        for place, key in enumerate(ids):
            places.setdefault(key, place)
        layout = Layout([self._reader.labels[key] for key in places], families.values())
        return PageLayout(families, layout, np.fromiter(places.values(), np.intp, len(places)))

    def _dressed(self, labels: Mapping[str, str]) -> Mapping[str, str]:
        """Give a series the target's labels."""
        if self._honor:
            return {**self._target, **labels}
        moved: dict[str, str] = {}
        for name in sorted(self._target.keys() & labels.keys()):
            new = f"exported_{name}"
            while new in labels or new in self._target or new in moved:
                new = f"exported_{new}"
            moved[new] = labels[name]
        return {**labels, **moved, **self._target}


def _by_time(reading: ParsedPage, at: int) -> Iterator[tuple[int, Sequence[int], NDArray[np.float64]]]:
    """Return the numbers of a page grouped by their time, the oldest first; those without one were taken now."""
    values = np.array(reading.values, np.float64)
    if not reading.times:
        yield at, reading.ids, values
        return
    groups: dict[int, list[int]] = {}
    for place, time in enumerate(reading.times):
        groups.setdefault(at if time == UNTIMED else time, []).append(place)
    for time, places in sorted(groups.items()):
        yield time, [reading.ids[place] for place in places], values[places]
