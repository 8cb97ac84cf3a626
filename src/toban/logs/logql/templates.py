"""Templates of ``line_format`` and ``label_format``: the values of labels in a text, as in Go's templates."""

import re
from collections.abc import Callable, Iterator
from typing import Final

from toban.logs.logql.syntax_tree import Template, TemplatePart

LINE: Final = "__line__"
"""The name that stands for the line."""

FUNCTIONS: Final[dict[str, Callable[[str], str]]] = {
    "lower": str.lower,
    "upper": str.upper,
    "ToLower": str.lower,
    "ToUpper": str.upper,
    "trim": str.strip,
    "TrimSpace": str.strip,
}

_ACTION: Final = re.compile(r"\{\{(?P<action>[^{}]*+)\}\}")
_FIELD: Final = re.compile(r"\.([a-zA-Z_]\w*)|__line__", re.ASCII)


def parse_template(text: str) -> Template:
    """Parse a template. Raises ``ValueError`` that names what is not supported."""
    return tuple(_parts(text))


def _parts(text: str) -> Iterator[TemplatePart]:
    end = 0
    for found in _ACTION.finditer(text):
        yield from _literal(text[end : found.start()])
        yield _action(found["action"].removeprefix("-").removesuffix("-").strip())
        end = found.end()
    yield from _literal(text[end:])


def _literal(text: str) -> Iterator[TemplatePart]:
    if "{{" in text:
        raise ValueError("template: unclosed action")
    if text:
        yield TemplatePart(text=text)


def _action(action: str) -> TemplatePart:
    first, *pipeline = (part.strip() for part in action.split("|"))
    *functions, field = first.split() or [""]
    if not (found := _FIELD.fullmatch(field)):
        raise ValueError(f"template: {{{{{action}}}}} is not supported: write {{{{.label}}}} or {{{{.label | lower}}}}")
    functions = [*reversed(functions), *pipeline]
    if unknown := [name for name in functions if name not in FUNCTIONS]:
        raise ValueError(f'template: function "{unknown[0]}" is not supported: use {", ".join(FUNCTIONS)}')
    return TemplatePart(name=found[1] or LINE, functions=tuple(functions))


def render(template: Template, value_of: Callable[[str], str]) -> str:
    """Return the text of a template; ``value_of`` returns the value of a label, or of `LINE`."""
    return "".join(part.text or _value(part, value_of) for part in template)


def _value(part: TemplatePart, value_of: Callable[[str], str]) -> str:
    value = value_of(part.name)
    for name in part.functions:
        value = FUNCTIONS[name](value)
    return value
