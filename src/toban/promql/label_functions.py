"""The functions that change labels: ``label_replace`` and ``label_join``."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from toban.core.errors import BadQueryError, QueryError
from toban.core.labels import NAME, Labels
from toban.core.matchers import compile_regex, expand_references
from toban.promql.evaluator_protocol import Evaluator, Function
from toban.promql.syntax_tree import Call, Node, StringLiteral
from toban.promql.vectors import InstantVector, StepGrid, merged

_MAX_VALUE_LENGTH: Final = 65_536
"""How many characters a label's value may have: each nested call could double it."""


def _label_replace(evaluator: Evaluator, call: Call, grid: StepGrid) -> Iterator[InstantVector]:
    target, replacement, source, pattern = (_text(argument) for argument in call.arguments[1:])
    try:
        regex = compile_regex(pattern)
    except BadQueryError as error:
        raise QueryError(f"invalid regular expression in label_replace(): {pattern}") from error
    _check(target, "destination", call)

    def replaced(labels: Labels) -> str | None:
        found = regex.fullmatch(labels.get(source, ""))
        return None if found is None else expand_references(replacement, found)

    yield _relabelled(evaluator.vector(call.arguments[0], grid), target, replaced)


def _label_join(evaluator: Evaluator, call: Call, grid: StepGrid) -> Iterator[InstantVector]:
    target, separator, *sources = (_text(argument) for argument in call.arguments[1:])
    for source in sources:
        _check(source, "source", call)
    _check(target, "destination", call)

    def join(labels: Labels) -> str:
        return separator.join(labels.get(source, "") for source in sources)

    yield _relabelled(evaluator.vector(call.arguments[0], grid), target, join)


def _relabelled(vector: InstantVector, target: str, value: Callable[[Labels], str | None]) -> InstantVector:
    """Set a label of each series, except where ``value`` returns None."""
    series, nameless = list(vector.series), vector.nameless.copy()
    for row, labels in enumerate(vector.series):
        new = value(labels)
        if new is None:
            continue
        if len(new) > _MAX_VALUE_LENGTH:
            raise QueryError(f"the value of label {target!r} would be longer than {_MAX_VALUE_LENGTH:,} characters")
        series[row] = Labels({**labels, target: new})
        # A metric name that is set here is kept.
        nameless[row] &= target != NAME
    return merged(replace(vector, series=tuple(series), nameless=nameless))


def _check(name: str, role: str, call: Call) -> None:
    if not name:
        raise QueryError(f"invalid {role} label name in {call.name}(): {name}")


def _text(node: Node) -> str:
    if not isinstance(node, StringLiteral):
        raise TypeError(f"{type(node).__name__} is not a string: the parser must refuse it")
    return node.value


FUNCTIONS: Final[dict[str, Function]] = {"label_join": _label_join, "label_replace": _label_replace}
"""The functions that change labels, by name."""
