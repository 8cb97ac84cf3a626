"""Compaction and retention decisions: which blocks to merge, and which to remove."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from toban.tsdb.block import BlockName

BLOCKS_PER_WINDOW: Final = 4
"""Blocks of one window that are merged before their day is over."""


@dataclass(frozen=True, slots=True)
class BlockCalendar:
    """The spans of time that blocks cover, in milliseconds: a window at first, a day once that is over."""

    window: int
    day: int

    def cutoff(self, now: int) -> int:
        """Return the time before which windows are flushed; late samples have a twelfth of a window to arrive."""
        return (now - self.window // 12) // self.window * self.window

    def span(self, at: int, cutoff: int) -> tuple[int, int]:
        """Return start and end of the block that covers a time."""
        length = self.day if (at // self.day + 1) * self.day <= cutoff else self.window
        start = at // length * length
        return start, start + length

    def compaction(self, names: Sequence[BlockName], cutoff: int) -> tuple[BlockName, list[BlockName]] | None:
        """Return the name of the next merged block and the blocks to merge, or None if there are none."""
        spans: dict[tuple[int, int], list[BlockName]] = {}
        for name in names:
            spans.setdefault(self.span(name.start, cutoff), []).append(name)
        for (start, end), some in sorted(spans.items()):
            if len(some) >= (2 if end - start == self.day else BLOCKS_PER_WINDOW):
                return BlockName(start, end, 1 + max(name.sequence for name in names)), sorted(
                    some, key=lambda name: name.sequence
                )
        return None


def expired(sizes: Mapping[BlockName, int], *, before: int, limit: int) -> list[BlockName]:
    """
    Return the blocks to remove: those that end before a time, then the oldest until the rest fits in ``limit`` bytes.

    The newest block is never among them.
    """
    oldest_first = sorted(sizes, key=lambda name: (name.end, name.sequence))
    rest = sum(sizes.values())
    removed = []
    for name in oldest_first[:-1]:
        if name.end <= before or rest > limit:
            removed.append(name)
            rest -= sizes[name]
    return removed
