"""What a query is answered with."""

from dataclasses import dataclass, field
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from toban.core.labels import Labels


class ResultType(StrEnum):
    """The shape of an answer, in the words of Prometheus' HTTP API (its ``resultType``)."""

    VECTOR = "vector"
    MATRIX = "matrix"
    SCALAR = "scalar"
    STRING = "string"


@dataclass(frozen=True, slots=True, eq=False)
class ResultSeries:
    """One series of an answer: its labels, times in milliseconds, and as many values."""

    labels: Labels
    times: NDArray[np.int64]
    values: NDArray[np.float64]

    @property
    def last(self) -> float:
        """The newest value; in a vector the only one."""
        return float(self.values[-1])


@dataclass(frozen=True, slots=True, eq=False)
class QueryResult:
    """
    What a query came to.

    A vector's series have one point each, at the time that was asked for; a scalar is one series without labels;
    a string has no series but ``text``. ``samples`` tells how many samples were touched on the way.
    """

    type: ResultType
    series: tuple[ResultSeries, ...] = ()
    text: str = ""
    at: int = 0
    warnings: tuple[str, ...] = ()
    infos: tuple[str, ...] = ()
    samples: int = field(default=0, kw_only=True)
