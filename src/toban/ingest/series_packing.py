"""Packs single samples into batches."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from toban.core.labels import Labels
from toban.core.ports import Clock
from toban.core.samples import ABSENT, Batch, Layout, MetricFamily
from toban.remote.remote_write_model import RemoteSamples

Int64Array = NDArray[np.int64]

GROUP_SERIES: Final = 128
"""Series in one slot group at most."""

SPARSE: Final = 8
"""A batch with a sample in fewer than one of so many slots is written without the gaps."""

CACHED_PARTS: Final = 32
"""Cached layouts of parts of a slot group."""

UNUSED_SECONDS: Final = 7200.0
"""Seconds after which series that are not sent any more lose their slots."""


@dataclass(slots=True, eq=False)
class SlotGroup:
    """Some series of one target, each in a slot for as long as it is sent."""

    series: list[Labels] = field(default_factory=list)
    layout: Layout | None = None
    parts: dict[tuple[int, ...], Layout] = field(default_factory=dict)
    used: float = 0.0


@dataclass(frozen=True, slots=True)
class PackedSamples:
    """Samples as batches, their new series, and the samples whose series got no slot."""

    batches: list[Batch]
    new: list[Labels]
    rejected: RemoteSamples


class SeriesPacker:
    """
    Assigns a slot to each series, so that the same series make batches of the same layouts again and again.

    Senders divide series into requests arbitrarily: without slots each request would be a new layout. A target (``job``
    and ``instance``) has up to ``limit`` slots.
    """

    def __init__(self, clock: Clock, limit: int) -> None:
        self._clock = clock
        self._limit = limit
        self._slots_used = Counter[tuple[str, str]]()
        self._slots: dict[Labels, tuple[SlotGroup, int]] = {}
        self._open: dict[tuple[str, str], SlotGroup] = {}
        self._expired_at = clock.monotonic()

    def __contains__(self, labels: Labels) -> bool:
        return labels in self._slots

    def pack(self, samples: RemoteSamples, families: Mapping[str, MetricFamily]) -> PackedSamples:
        """Return samples as batches. Of two of one series at one time the later counts."""
        self._expire()
        groups, new = dict[SlotGroup, int](), list[Labels]()
        rows = list[tuple[int, int]]()
        for labels in samples.series:
            slot = self._slots.get(labels)
            if slot is None:
                if self._slots_used[_target(labels)] >= self._limit:
                    rows.append((-1, -1))
                    continue
                slot = self._assign(labels)
                new.append(labels)
            rows.append((groups.setdefault(slot[0], len(groups)), slot[1]))
        table = np.array(rows, np.int64).reshape(-1, 2).T
        has_slot = table[0, samples.series_of] >= 0
        batches = self._batches(list(groups), table, samples.only(has_slot), families)
        return PackedSamples(batches, new, samples.only(~has_slot))

    def _batches(
        self,
        groups: Sequence[SlotGroup],
        table: Int64Array,
        samples: RemoteSamples,
        families: Mapping[str, MetricFamily],
    ) -> list[Batch]:
        """Return samples as batches; the table has group and slot of each series."""
        group, slot = table[:, samples.series_of]
        # After sorting, samples of one slot and time are adjacent: the last one counts.
        order = np.lexsort((slot, samples.times, group))
        group, slot, times, values = group[order], slot[order], samples.times[order], samples.values[order]
        together = (np.diff(group) == 0) & (np.diff(times) == 0)
        last = np.append(~(together & (np.diff(slot) == 0)), np.ones(min(1, len(order)), np.bool_))
        ends = np.flatnonzero(~together) + 1
        batches = []
        for first, end in zip([0, *ends.tolist()], [*ends.tolist(), len(order)], strict=True):
            here = np.flatnonzero(last[first:end]) + first
            if len(here):
                batches.append(self._batch(groups[group[first]], int(times[first]), slot[here], values[here], families))
        return batches

    def release(self, new: Iterable[Labels]) -> None:
        """Free the slots of new series again, newest first."""
        for labels in reversed(list(new)):
            group, slot = self._slots.pop(labels)
            self._slots_used[_target(labels)] -= 1
            del group.series[slot:]
            group.layout = None
            group.parts.clear()

    def resend_metadata(self) -> None:
        """Add the metric families to the layouts of the next batches."""
        for group, _ in self._slots.values():
            group.layout = None

    def _assign(self, labels: Labels) -> tuple[SlotGroup, int]:
        target = _target(labels)
        self._slots_used[target] += 1
        group = self._open.get(target)
        if group is None or len(group.series) >= GROUP_SERIES:
            group = self._open[target] = SlotGroup()
        group.series.append(labels)
        group.layout = None
        slot = self._slots[labels] = group, len(group.series) - 1
        return slot

    def _batch(
        self,
        group: SlotGroup,
        at: int,
        slots: Int64Array,
        values: NDArray[np.float64],
        families: Mapping[str, MetricFamily],
    ) -> Batch:
        group.used = self._clock.monotonic()
        if len(slots) * SPARSE < len(group.series):
            chosen = tuple(slots.tolist())
            layout = group.parts.get(chosen)
            if layout is None:
                if len(group.parts) >= CACHED_PARTS:
                    group.parts.clear()
                layout = group.parts[chosen] = _layout([group.series[slot] for slot in chosen], families)
            return Batch(layout, at, values)
        if group.layout is None:
            group.layout = _layout(group.series, families)
        if len(slots) == len(group.series):
            return Batch(group.layout, at, values)
        row = np.full(len(group.series), ABSENT)
        row[slots] = values
        return Batch(group.layout, at, row)

    def _expire(self) -> None:
        now = self._clock.monotonic()
        if now - self._expired_at < UNUSED_SECONDS / 4:
            return
        self._expired_at = now
        self._open = {target: group for target, group in self._open.items() if now - group.used < UNUSED_SECONDS}
        self._slots = {labels: slot for labels, slot in self._slots.items() if now - slot[0].used < UNUSED_SECONDS}
        self._slots_used = Counter(map(_target, self._slots))


def _target(labels: Labels) -> tuple[str, str]:
    return labels.get("job", ""), labels.get("instance", "")


def _layout(series: Iterable[Labels], families: Mapping[str, MetricFamily]) -> Layout:
    series = list(series)
    names = dict.fromkeys(labels.name for labels in series)
    stems = (name.removesuffix(suffix) for name in names for suffix in ("", "_bucket", "_sum", "_count") if families)
    return Layout(series, dict.fromkeys(families[stem] for stem in stems if stem in families))
