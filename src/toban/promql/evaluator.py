"""What the parts of the evaluator ask of each other."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeAlias

from toban.promql.query_limits import QueryBudget
from toban.promql.range_windows import RangeWindows
from toban.promql.syntax_tree import Call, Node, Range, Subquery
from toban.promql.vectors import Floats, InstantVector, StepGrid


class Evaluator(Protocol):
    """Evaluates the parts of one query. Everything may raise ``QueryError`` or ``StoreError``."""

    @property
    def budget(self) -> QueryBudget:
        """What the query has left."""
        ...

    def blocks(self, node: Node, grid: StepGrid) -> Iterator[InstantVector]:
        """Evaluate to some series at a time; a series is in one block."""
        ...

    def vector(self, node: Node, grid: StepGrid) -> InstantVector:
        """Evaluate to all series at once."""
        ...

    def scalars(self, node: Node, grid: StepGrid) -> Floats:
        """Evaluate to one number for each step."""
        ...

    def windows(self, node: Range | Subquery, grid: StepGrid) -> Iterator[tuple[RangeWindows, bool]]:
        """Lay windows over some series at a time, and tell whether these have lost their names."""
        ...

    def stamps(self, node: Node, grid: StepGrid) -> Iterator[InstantVector]:
        """Evaluate to the times of the samples, in seconds, instead of their values."""
        ...


Function: TypeAlias = Callable[[Evaluator, Call, StepGrid], Iterable[InstantVector]]
"""How a function over vectors is written."""

ScalarFunction: TypeAlias = Callable[[Evaluator, Call, StepGrid], Floats]
"""How a function that comes to scalars is written."""
