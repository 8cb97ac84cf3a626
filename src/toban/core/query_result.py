"""The results of PromQL queries."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from toban.core.errors import QueryError, StoreError
from toban.core.labels import Labels


class ResultType(StrEnum):
    """The type of a result, as in Prometheus' HTTP API (``resultType``)."""

    VECTOR = "vector"
    MATRIX = "matrix"
    SCALAR = "scalar"
    STRING = "string"


@dataclass(frozen=True, slots=True, eq=False)
class ResultSeries:
    """One series of a result: labels, times in milliseconds, and as many values."""

    labels: Labels
    times: NDArray[np.int64]
    values: NDArray[np.float64]

    @property
    def last(self) -> float:
        """The newest value; in a vector the only one."""
        return float(self.values[-1])

    def runs(self, step: int) -> Iterator[tuple[int, int]]:
        """Yield the first and the last time of each run of points that are a step (milliseconds) apart."""
        for _, run in groupby(enumerate(self.times.tolist()), lambda it: it[1] - it[0] * step):
            times = [time for _, time in run]
            yield times[0], times[-1]


@dataclass(frozen=True, slots=True, eq=False)
class QueryResult:
    """
    The result of a query.

    A vector's series have one point each, at the time of the query; a scalar is one series without labels; a string
    has no series but ``text``. ``samples`` is how many samples the evaluation read or made.
    """

    type: ResultType
    series: tuple[ResultSeries, ...] = ()
    text: str = ""
    at: int = 0
    warnings: tuple[str, ...] = ()
    infos: tuple[str, ...] = ()
    samples: int = field(default=0, kw_only=True)


class DataPresence(IntEnum):
    """How much of the data that a query reads exists."""

    MISSING = 0
    """A selector whose newest sample it reads has none."""
    NO_INCREASE = 1
    """Only ranges are empty: a counter that does not exist has counted nothing."""
    PRESENT = 2


@dataclass(frozen=True, slots=True, eq=False)
class BatchResult:
    """
    The result or error of one query of a batch, and its duration in seconds.

    If the result is empty, ``presence`` is how much of the data that the query reads exists.
    """

    outcome: QueryResult | QueryError | StoreError
    presence: DataPresence = DataPresence.PRESENT
    seconds: float = 0.0

    @property
    def result(self) -> QueryResult:
        """The result. Raises the error if there was one."""
        if isinstance(self.outcome, QueryResult):
            return self.outcome
        raise self.outcome
