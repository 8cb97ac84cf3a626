"""What the parts of the evaluator ask of each other."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol, TypeAlias

from toban.promql.query_limits import Budget
from toban.promql.range_windows import Windows
from toban.promql.syntax_tree import Call, Node, Range, Subquery
from toban.promql.vectors import Floats, Grid, Vector


class Evaluator(Protocol):
    """Evaluates the parts of one query. Everything may raise ``QueryError`` or ``StoreError``."""

    @property
    def budget(self) -> Budget:
        """What the query has left."""
        ...

    def blocks(self, node: Node, grid: Grid) -> Iterator[Vector]:
        """Evaluate to some series at a time; a series is in one block."""
        ...

    def vector(self, node: Node, grid: Grid) -> Vector:
        """Evaluate to all series at once."""
        ...

    def scalars(self, node: Node, grid: Grid) -> Floats:
        """Evaluate to one number for each step."""
        ...

    def windows(self, node: Range | Subquery, grid: Grid) -> Iterator[tuple[Windows, bool]]:
        """Lay windows over some series at a time, and tell whether these have lost their names."""
        ...

    def stamps(self, node: Node, grid: Grid) -> Iterator[Vector]:
        """Evaluate to the times of the samples, in seconds, instead of their values."""
        ...


Function: TypeAlias = Callable[[Evaluator, Call, Grid], Iterable[Vector]]
"""How a function over vectors is written."""

ScalarFunction: TypeAlias = Callable[[Evaluator, Call, Grid], Floats]
"""How a function that comes to scalars is written."""
