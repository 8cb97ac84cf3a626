"""Which blocks are to become one, and which are to go: decisions only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from toban.tsdb.block import BlockName

CROWD: Final = 4
"""So many blocks of one window become one before their day is over."""


@dataclass(frozen=True, slots=True)
class BlockCalendar:
    """How time is cut, in milliseconds: windows while a day is young, days when it is over."""

    window: int
    day: int

    def cutoff(self, now: int) -> int:
        """Return the time before which windows are sealed: late numbers get a twelfth of a window."""
        return (now - self.window // 12) // self.window * self.window

    def span(self, at: int, cutoff: int) -> tuple[int, int]:
        """Return the start and end of the block that a time belongs into."""
        length = self.day if (at // self.day + 1) * self.day <= cutoff else self.window
        start = at // length * length
        return start, start + length

    def compaction(self, names: Sequence[BlockName], cutoff: int) -> tuple[BlockName, list[BlockName]] | None:
        """Return a block that is to be and those that it is to be made of, or nothing if all are well as they are."""
        spans: dict[tuple[int, int], list[BlockName]] = {}
        for name in names:
            spans.setdefault(self.span(name.start, cutoff), []).append(name)
        for (start, end), some in sorted(spans.items()):
            if len(some) >= (2 if end - start == self.day else CROWD):
                return BlockName(start, end, 1 + max(name.turn for name in names)), sorted(
                    some, key=lambda name: name.turn
                )
        return None


def expired(sizes: Mapping[BlockName, int], *, before: int, limit: int) -> list[BlockName]:
    """
    Return the blocks that are to go: those that end before a time, then the oldest until the rest fits.

    The newest block is never among them.
    """
    oldest_first = sorted(sizes, key=lambda name: (name.end, name.turn))
    rest = sum(sizes.values())
    gone = []
    for name in oldest_first[:-1]:
        if name.end <= before or rest > limit:
            gone.append(name)
            rest -= sizes[name]
    return gone
