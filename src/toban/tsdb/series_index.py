"""The index of series: by id, and by label."""

from array import array
from collections.abc import Iterable, Mapping, Sequence
from sys import intern
from threading import Lock
from typing import Final

import numpy as np
import orjson
from numpy.typing import NDArray

from toban.core.labels import Labels
from toban.core.matchers import Matcher, MatchOperator
from toban.tsdb.lru import LruCache
from toban.tsdb.series_merge import Int64Array

SCAN_LIMIT: Final = 256
"""Series up to which matchers are tested on each, rather than resolved through postings."""


def series_key(labels: Labels) -> bytes:
    """Return a series as one line of JSON. Raises ``TypeError`` when a label is not valid Unicode."""
    return orjson.dumps(labels)


CACHED_SERIES: Final = 32_768
"""Series in all cached selections: rules select the same ones again and again."""

MIN_SIZE: Final = 16
"""Size of a cached selection at least, in series: its matchers take memory too."""


class SeriesIndex:
    """
    Every series in the store, by id and by label.

    While toban runs an id is never used for another series. Safe to use from any thread.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._labels: list[Labels | None] = []
        self._ids: dict[Labels, int] = {}
        self._postings: dict[str, dict[str, array[int]]] = {}
        self._version = 0
        self._selections = LruCache[tuple[Matcher, ...], tuple[int, Mapping[int, Labels]]](
            CACHED_SERIES, lambda cached: max(MIN_SIZE, len(cached[1]))
        )

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def size(self) -> int:
        """One more than the highest id."""
        return len(self._labels)

    def count_new(self, series: Iterable[Labels]) -> int:
        """Return how many of some series are new. Raises ``TypeError`` when a label is not valid Unicode."""
        new = [labels for labels in series if labels not in self._ids]
        for labels in new:
            series_key(labels)
        return len(new)

    def add(self, series: Iterable[Labels]) -> Int64Array:
        """Return the ids of some series; a new series gets one."""
        with self._lock:
            before = len(self._labels)
            ids = np.array([self._id(labels) for labels in series], np.int64)
            # Increased last, so that no selection that was made before stays cached.
            self._version += len(self._labels) > before
            return ids

    def labels(self, number: int) -> Labels:
        """Return the labels of a series by its id. Raises ``KeyError`` when it was removed."""
        labels = self._labels[number]
        if labels is None:
            raise KeyError(number)
        return labels

    def find(self, matchers: Sequence[Matcher]) -> Mapping[int, Labels]:
        """Return the series that all matchers select, by id."""
        key, version = tuple(matchers), self._version
        cached = self._selections.get(key)
        if cached and cached[0] == version:
            return cached[1]
        selected = self._find(matchers)
        self._selections.put(key, (version, selected))
        return selected

    def _find(self, matchers: Sequence[Matcher]) -> dict[int, Labels]:
        candidates = self._rarest_postings(matchers)
        if candidates is not None:
            return self._filter(candidates, matchers)
        with self._lock:
            # Without gaps no element needs to be tested.
            gaps = len(self._ids) < len(self._labels)
            present = [labels is not None for labels in self._labels] if gaps else np.ones(len(self._labels))
            selected = np.array(present, np.bool_)
        # Equality matchers are look-ups and leave little; regular expressions come last, once for each distinct value.
        for matcher in sorted(matchers, key=lambda matcher: matcher.operator is not MatchOperator.EQUAL):
            with self._lock:
                values = list(self._postings.get(matcher.name, {}))
            accepts_missing = matcher.accepts("")
            if matcher.operator is MatchOperator.EQUAL and not accepts_missing:
                values = [matcher.value]
            # Series without the label have no posting: where they are accepted, the rejected values are removed.
            values = [value for value in values if matcher.accepts(value) != accepts_missing]
            flags = self._flags(matcher.name, values)[: len(selected)]
            selected &= ~flags if accepts_missing else flags
        ids = np.flatnonzero(selected).tolist()
        return {number: labels for number in ids if (labels := self._labels[number]) is not None}

    def _filter(self, ids: Iterable[int], matchers: Sequence[Matcher]) -> dict[int, Labels]:
        """Return those of some series that all matchers select; each distinct value is tested once."""
        tests: list[tuple[Matcher, dict[str, bool]]] = [(matcher, {}) for matcher in matchers]
        selected = {}
        for number in ids:
            labels = self._labels[number]
            if labels is None:
                continue
            for matcher, accepted in tests:
                value = labels.get(matcher.name, "")
                if value not in accepted:
                    accepted[value] = matcher.accepts(value)
                if not accepted[value]:
                    break
            else:
                selected[number] = labels
        return selected

    def _rarest_postings(self, matchers: Sequence[Matcher]) -> list[int] | None:
        """Return the shortest postings of all equality matchers, or None when even they exceed `SCAN_LIMIT`."""
        with self._lock:
            equal = [it for it in matchers if it.operator is MatchOperator.EQUAL and it.value]
            postings = [self._postings.get(it.name, {}).get(it.value, ()) for it in equal]
            rarest = min(postings, key=len, default=None)
            return None if rarest is None or len(rarest) > SCAN_LIMIT else sorted(rarest)

    def forget(self, ids: Int64Array) -> None:
        """Remove series that have no samples any more."""
        removed = np.zeros(len(self._labels), np.bool_)
        removed[ids] = True
        touched: set[tuple[str, str]] = set()
        with self._lock:
            for number in ids.tolist():
                labels = self._labels[number]
                if labels is not None:
                    del self._ids[labels]
                    self._labels[number] = None
                    touched.update(labels.items())
            self._version += 1
        for name, value in touched:
            with self._lock:
                posting = np.array(self._postings[name][value], np.int64)
                # Series that were added since then have ids beyond the flags.
                kept = posting[~((posting < len(removed)) & removed[np.minimum(posting, len(removed) - 1)])]
                if len(kept):
                    self._postings[name][value] = array("q", kept.tobytes())
                else:
                    del self._postings[name][value]

    def _id(self, labels: Labels) -> int:
        number = self._ids.get(labels)
        if number is None:
            number = len(self._labels)
            # Each scrape parses its texts again: interned, they take half the memory.
            interned = Labels((intern(name), intern(value)) for name, value in labels.items())
            self._labels.append(interned)
            self._ids[interned] = number
            for name, value in interned.items():
                self._postings.setdefault(name, {}).setdefault(value, array("q")).append(number)
        return number

    def _flags(self, name: str, values: Sequence[str]) -> NDArray[np.bool_]:
        with self._lock:
            flags = np.zeros(len(self._labels), np.bool_)
            postings = self._postings.get(name, {})
            # Copied: an array whose buffer is exported can't grow.
            members = [np.array(postings[value], np.int64) for value in values if value in postings]
            if members:
                flags[np.concatenate(members)] = True
            return flags
