"""The binary operators of LogQL, over numbers and over series."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np

PRECEDENCE: Final = {
    "or": 1,
    **dict.fromkeys(("and", "unless"), 2),
    **dict.fromkeys(("==", "!=", ">", ">=", "<", "<="), 3),
    **dict.fromkeys(("+", "-"), 4),
    **dict.fromkeys(("*", "/", "%"), 5),
    "^": 6,
}
"""How tightly the operators bind."""

COMPARISONS: Final = frozenset(operator for operator, precedence in PRECEDENCE.items() if precedence == 3)
SET_OPERATORS: Final = frozenset({"or", "and", "unless"})

_FUNCTIONS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.fmod,
    "^": np.float_power,
    "==": np.equal,
    "!=": np.not_equal,
    ">": np.greater,
    ">=": np.greater_equal,
    "<": np.less,
    "<=": np.less_equal,
}


def calculate(operator: str, left: float, right: float) -> float:
    """Return the result of an operator between two numbers; 1 or 0 for a comparison."""
    return float(apply(operator, np.float64(left), np.float64(right)))


def apply(operator: str, left: Any, right: Any) -> Any:
    """Return the results of an operator between arrays or numbers, booleans for a comparison."""
    with np.errstate(all="ignore"):  # division by zero and the like have results
        return _FUNCTIONS[operator](left, right)
