"""Which series there are, and which of them meet a condition."""

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
from toban.tsdb.series_merge import Numbers

FEW: Final = 256
"""How many series are looked at one by one rather than by what each value is listed under."""


def series_key(labels: Labels) -> bytes:
    """Return a series as one line of bytes. Raises ``TypeError`` when a label is no valid text."""
    return orjson.dumps(labels)


SELECTED: Final = 32_768
"""Series in all that the selections wanted last may hold: rules ask for the same ones again and again."""

LEAST: Final = 16
"""What a selection counts for at least, in series: its expressions take memory too."""


class SeriesIndex:
    """
    Every series that the store holds, by number and by label.

    A number is never used for another series while toban runs. All methods may be called from any thread.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._labels: list[Labels | None] = []
        self._ids: dict[Labels, int] = {}
        self._postings: dict[str, dict[str, array[int]]] = {}
        self._edition = 0
        self._found = LruCache[tuple[Matcher, ...], tuple[int, Mapping[int, Labels]]](
            SELECTED, lambda found: max(LEAST, len(found[1]))
        )

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def size(self) -> int:
        """One more than the highest number given out."""
        return len(self._labels)

    def unknown(self, series: Iterable[Labels]) -> int:
        """Return how many of some series are new. Raises ``TypeError`` when a label of one is no valid text."""
        new = [labels for labels in series if labels not in self._ids]
        for labels in new:
            series_key(labels)
        return len(new)

    def add(self, series: Iterable[Labels]) -> Numbers:
        """Return the numbers of some series; what is new gets one."""
        with self._lock:
            before = len(self._labels)
            numbers = np.array([self._number(labels) for labels in series], np.int64)
            # Counted last, so that no selection is held that was made before.
            self._edition += len(self._labels) > before
            return numbers

    def labels(self, number: int) -> Labels:
        """Return the labels of a series that the store holds."""
        labels = self._labels[number]
        if labels is None:
            raise KeyError(number)
        return labels

    def find(self, matchers: Sequence[Matcher]) -> Mapping[int, Labels]:
        """Return the series that meet all conditions, by number."""
        key, edition = tuple(matchers), self._edition
        held = self._found.get(key)
        if held and held[0] == edition:
            return held[1]
        found = self._find(matchers)
        self._found.put(key, (edition, found))
        return found

    def _find(self, matchers: Sequence[Matcher]) -> dict[int, Labels]:
        few = self._few(matchers)
        if few is not None:
            return self._chosen(few, matchers)
        with self._lock:
            # Without a gap nobody needs to be looked at.
            gaps = len(self._ids) < len(self._labels)
            held = [labels is not None for labels in self._labels] if gaps else np.ones(len(self._labels))
            found = np.array(held, np.bool_)
        # An equality is a look-up and leaves little; expressions go last. Each distinct value is tried once.
        for matcher in sorted(matchers, key=lambda matcher: matcher.operator is not MatchOperator.EQUAL):
            with self._lock:
                values = list(self._postings.get(matcher.name, {}))
            without = matcher.accepts("")
            if matcher.operator is MatchOperator.EQUAL and not without:
                values = [matcher.value]
            # Series without the label have no posting: where they are accepted, the others are struck out.
            chosen = self._flags(matcher.name, [value for value in values if matcher.accepts(value) != without])
            found &= ~chosen[: len(found)] if without else chosen[: len(found)]
        numbers = np.flatnonzero(found).tolist()
        return {number: labels for number in numbers if (labels := self._labels[number]) is not None}

    def _chosen(self, numbers: Iterable[int], matchers: Sequence[Matcher]) -> dict[int, Labels]:
        """Return those of some series that meet all conditions; each distinct value is tried once."""
        tried: list[tuple[Matcher, dict[str, bool]]] = [(matcher, {}) for matcher in matchers]
        found = {}
        for number in numbers:
            labels = self._labels[number]
            if labels is None:
                continue
            for matcher, known in tried:
                value = labels.get(matcher.name, "")
                if value not in known:
                    known[value] = matcher.accepts(value)
                if not known[value]:
                    break
            else:
                found[number] = labels
        return found

    def _few(self, matchers: Sequence[Matcher]) -> list[int] | None:
        """Return the series of the rarest value that is wanted, if they are few enough to be looked at one by one."""
        with self._lock:
            wanted = [it for it in matchers if it.operator is MatchOperator.EQUAL and it.value]
            listed = [self._postings.get(it.name, {}).get(it.value, ()) for it in wanted]
            rarest = min(listed, key=len, default=None)
            return None if rarest is None or len(rarest) > FEW else sorted(rarest)

    def forget(self, dead: Numbers) -> None:
        """Forget series that nothing holds any more."""
        gone = np.zeros(len(self._labels), np.bool_)
        gone[dead] = True
        touched: set[tuple[str, str]] = set()
        with self._lock:
            for number in dead.tolist():
                labels = self._labels[number]
                if labels is not None:
                    del self._ids[labels]
                    self._labels[number] = None
                    touched.update(labels.items())
            self._edition += 1
        for name, value in touched:
            with self._lock:
                here = np.array(self._postings[name][value], np.int64)
                # Series that came since then have numbers beyond the flags.
                keep = here[~((here < len(gone)) & gone[np.minimum(here, len(gone) - 1)])]
                if len(keep):
                    self._postings[name][value] = array("q", keep.tobytes())
                else:
                    del self._postings[name][value]

    def _number(self, labels: Labels) -> int:
        number = self._ids.get(labels)
        if number is None:
            number = len(self._labels)
            # Each look parses its texts anew: kept once, they cost half the memory.
            own = Labels((intern(name), intern(value)) for name, value in labels.items())
            self._labels.append(own)
            self._ids[own] = number
            for name, value in own.items():
                self._postings.setdefault(name, {}).setdefault(value, array("q")).append(number)
        return number

    def _flags(self, name: str, values: Sequence[str]) -> NDArray[np.bool_]:
        with self._lock:
            flags = np.zeros(len(self._labels), np.bool_)
            postings = self._postings.get(name, {})
            # Copied: an array that lends out its memory could not grow.
            found = [np.array(postings[value], np.int64) for value in values if value in postings]
            if found:
                flags[np.concatenate(found)] = True
            return flags
