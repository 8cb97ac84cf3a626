"""The interface of the evaluator for operators and functions, which evaluate their arguments through it."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeAlias

from toban.promql.query_limits import QueryBudget
from toban.promql.range_windows import RangeWindows
from toban.promql.syntax_tree import Call, Node, Range, Subquery
from toban.promql.vectors import Floats, InstantVector, StepGrid


class Evaluator(Protocol):
    """Evaluates the nodes of one query. All methods may raise ``QueryError`` or ``StoreError``."""

    @property
    def budget(self) -> QueryBudget:
        """The budget of the query."""
        ...

    def blocks(self, node: Node, grid: StepGrid) -> Iterator[InstantVector]:
        """Evaluate to a vector, block by block; a series is in one block."""
        ...

    def vector(self, node: Node, grid: StepGrid) -> InstantVector:
        """Evaluate to a vector with all series."""
        ...

    def scalars(self, node: Node, grid: StepGrid) -> Floats:
        """Evaluate to a scalar for each step."""
        ...

    def windows(self, node: Range | Subquery, grid: StepGrid) -> Iterator[tuple[RangeWindows, bool]]:
        """Evaluate to the windows of a range, some series at a time, and whether these have lost their names."""
        ...

    def timestamps(self, node: Node, grid: StepGrid) -> Iterator[InstantVector]:
        """Evaluate to the timestamps of the samples, in seconds, instead of their values."""
        ...


Function: TypeAlias = Callable[[Evaluator, Call, StepGrid], Iterable[InstantVector]]
"""The implementation of a function that returns a vector."""

ScalarFunction: TypeAlias = Callable[[Evaluator, Call, StepGrid], Floats]
"""The implementation of a function that returns a scalar."""
