"""What a template is made of."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias


@dataclass(frozen=True, slots=True)
class Literal:
    """A text, a number, true, false or nil."""

    value: Any


@dataclass(frozen=True, slots=True)
class Variable:
    """``$name``, or the dot where the name is empty, and the fields taken of it."""

    name: str
    fields: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Taken:
    """A field of what a bracket comes to."""

    of: "Operand"
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """A function with its arguments; in a pipeline the last one comes from the left."""

    function: str
    arguments: tuple["Operand", ...] = ()


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A value, and calls each given what came before as their last argument; assigned to a variable if it names one."""

    first: "Operand"
    then: tuple[Call, ...] = ()
    into: str = ""
    declares: bool = False


Operand: TypeAlias = Literal | Variable | Taken | Call | Pipeline


@dataclass(frozen=True, slots=True)
class Words:
    """Text that stands for itself."""

    text: str


@dataclass(frozen=True, slots=True)
class If:
    """Either of two bodies; ``rebinds`` makes the condition the dot (``with``)."""

    condition: Pipeline
    body: Sequence["Part"]
    otherwise: Sequence["Part"] = ()
    rebinds: bool = False


@dataclass(frozen=True, slots=True)
class Range:
    """A body for each element, or another when there are none."""

    over: Pipeline
    index: str
    element: str
    body: Sequence["Part"]
    otherwise: Sequence["Part"] = ()


Part: TypeAlias = Words | Pipeline | If | Range
