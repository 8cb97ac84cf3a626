"""The syntax tree of a template."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Literal:
    """A string, a number, true, false or nil."""

    value: Any


@dataclass(frozen=True, slots=True)
class Variable:
    """``$name``, or the dot if the name is empty, and the fields that are accessed."""

    name: str
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FieldAccess:
    """Fields of the value of a parenthesis."""

    of: "Operand"
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """A function call; in a pipeline its last argument is the value on the left."""

    function: str
    arguments: tuple["Operand", ...] = ()


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A value and the calls that it is passed through; its result is assigned to the variable ``into``, if given."""

    first: "Operand"
    then: tuple[Call, ...] = ()
    into: str = ""
    declares: bool = False


Operand: TypeAlias = Literal | Variable | FieldAccess | Call | Pipeline


@dataclass(frozen=True, slots=True)
class PlainText:
    """Text without actions."""

    text: str


@dataclass(frozen=True, slots=True)
class If:
    """``if``, or ``with``, which sets the dot to the condition (``rebinds``)."""

    condition: Pipeline
    body: Sequence["Part"]
    otherwise: Sequence["Part"] = ()
    rebinds: bool = False


@dataclass(frozen=True, slots=True)
class Range:
    """``range``: a body for each element, or ``otherwise`` if there are none."""

    over: Pipeline
    index: str
    element: str
    body: Sequence["Part"]
    otherwise: Sequence["Part"] = ()


Part: TypeAlias = PlainText | Pipeline | If | Range
