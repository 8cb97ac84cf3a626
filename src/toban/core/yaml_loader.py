"""YAML whose scalars stay as they are written: ``no`` is a text, and so are ``0123`` and ``1.10``."""

from collections.abc import Hashable
from typing import Any, Final

import yaml

MOST_NODES: Final = 1_000_000
"""How many values a document may come to when its aliases are written out."""

_TAG: Final = "tag:yaml.org,2002:"


class StrictLoader(yaml.SafeLoader):
    """
    Reads as Go's ``yaml.v3`` reads into strings: only null is no text, and a key may stand once in a mapping.

    Who wants a number or a truth reads it from the text.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Refuse a key that is there twice, or is no word."""
        seen = set[str]()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be a word (or in quotes)", problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"key {key.value!r} is there twice", problem_mark=key.start_mark)
            if key.tag != _TAG + "merge":
                seen.add(key.value)
                key.tag = _TAG + "str"
        return super().construct_mapping(node, deep)


def _text(loader: StrictLoader, node: yaml.ScalarNode) -> str:
    return str(loader.construct_scalar(node))


StrictLoader.yaml_implicit_resolvers = {
    first: kept
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    if (kept := [it for it in resolvers if it[0] in {_TAG + "null", _TAG + "merge"}])
}
for _kind in ("bool", "int", "float", "timestamp"):
    StrictLoader.add_constructor(_TAG + _kind, _text)


def load_yaml(text: str) -> Any:
    """
    Read one document. Raises ``ValueError``, with the line where there is one, for what is none.

    The same is raised for aliases that grow beyond reason, and for what is nested too deeply.
    """
    try:
        found = yaml.load(text, StrictLoader)  # noqa: S506  # a SafeLoader
        _size(found, {})
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ValueError(f"{line}{explained(error)}") from error
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return found


def explained(error: yaml.MarkedYAMLError) -> str:
    """Return what is wrong with a YAML."""
    if error.problem == "but found another document":
        return "a second document begins here: give it a file of its own"
    return error.problem or error.context or "this is no YAML"


def _size(value: Any, known: dict[int, int]) -> int:
    """Return how many values something comes to; what several aliases stand for counts each time."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        inside = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_size(one, known) for one in inside)
    if known[id(value)] > MOST_NODES:
        raise ValueError(f"its aliases come to more than {MOST_NODES:,} values")
    return known[id(value)]
