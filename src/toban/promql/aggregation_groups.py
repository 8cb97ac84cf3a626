"""The groups of series that an aggregation makes one series of."""

from collections.abc import Iterator

import numpy as np

from toban.core.labels import NAME, Labels
from toban.promql.syntax_tree import Aggregation
from toban.promql.vectors import Floats, Index, InstantVector


class AggregationGroups:
    """The groups of one aggregation, in order of appearance; they grow block by block."""

    def __init__(self, labels: tuple[str, ...], *, without: bool) -> None:
        self._labels = labels
        self._ignored = frozenset(labels) | {NAME}
        self._without = without
        self._found: dict[tuple[object, ...], int] = {}
        self.groups: list[Labels] = []
        self.nameless: list[bool] = []

    @classmethod
    def of(cls, node: Aggregation) -> "AggregationGroups":
        """Return the groups of an aggregation in a query."""
        return cls(node.labels, without=node.without)

    def __len__(self) -> int:
        return len(self.groups)

    def target(self, block: InstantVector) -> Index:
        """Return the group of each series."""
        found = self._found
        result = np.empty(len(block), np.intp)
        for row, labels in enumerate(block.series):
            key = self._key(labels)
            group = found.get(key)
            if group is None:
                group = found[key] = len(self.groups)
                self.groups.append(labels.drop(*self._ignored) if self._without else labels.keep(*self._labels))
                self.nameless.append(False)
            result[row] = group
        for group in set(result[block.nameless].tolist()):
            self.nameless[group] = True
        return result

    def _key(self, labels: Labels) -> tuple[object, ...]:
        if self._without:
            ignored = self._ignored
            return tuple([pair for pair in labels.items() if pair[0] not in ignored])
        return tuple([labels.get(name) for name in self._labels])

    def vector(self, values: Floats, present: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> InstantVector:
        """Return one series for each group."""
        return InstantVector(tuple(self.groups), values, present, np.array(self.nameless, np.bool_))


class GroupLayers:
    """
    The series of a block, sorted by group, in layers of one series of each group.

    ``groups`` are those that occur, ``starts`` is where each begins in ``order``.
    """

    def __init__(self, target: Index) -> None:
        self.order: Index = np.argsort(target, kind="stable")
        self.groups, self.starts = np.unique(target[self.order], return_index=True)
        self._sizes = np.diff(self.starts, append=len(target))

    @property
    def deep(self) -> bool:
        """Whether there are more layers than groups."""
        return len(self.groups) < int(self._sizes.max(initial=0))

    def each(self) -> Iterator[tuple[int, Index]]:
        """Return each group: its number, and its rows of the block."""
        for group, start, size in zip(self.groups.tolist(), self.starts.tolist(), self._sizes.tolist(), strict=True):
            yield group, self.order[start : start + size]

    def __iter__(self) -> Iterator[tuple[Index, Index]]:
        """Return each layer: rows of the block, and their groups."""
        for depth in range(int(self._sizes.max(initial=0))):
            deep = self._sizes > depth
            yield self.order[self.starts[deep] + depth], self.groups[deep]
