"""Loads YAML without converting scalars: ``no`` is a text, and so are ``0123`` and ``1.10``."""

from collections.abc import Hashable
from typing import Any, Final

import yaml

MAX_VALUES: Final = 1_000_000
"""Values of a document, its aliases expanded."""

_TAG: Final = "tag:yaml.org,2002:"


class StrictLoader(yaml.SafeLoader):
    """
    Loads scalars as texts, as Go's ``yaml.v3`` does for strings; only null is none. A duplicate key is an error.

    Numbers and booleans are parsed from the text by the caller.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        """Refuse duplicate keys, and keys that are no scalars."""
        seen = set[str]()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be a word (or in quotes)", problem_mark=key.start_mark)
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"duplicate key {key.value!r}", problem_mark=key.start_mark)
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
    Load one document. Raises ``ValueError``, with the line if it is known, when it is invalid.

    Aliases that expand to too many values and values that are nested too deeply are invalid too.
    """
    try:
        found = yaml.load(text, StrictLoader)  # noqa: S506  # a SafeLoader
        _count_values(found, {})
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ValueError(f"{line}{yaml_problem(error)}") from error
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    return found


def yaml_problem(error: yaml.MarkedYAMLError) -> str:
    """Return the problem that an error of YAML describes."""
    if error.problem == "but found another document":
        return "a second document begins here: give it a file of its own"
    return error.problem or error.context or "invalid YAML"


def _count_values(value: Any, known: dict[int, int]) -> int:
    """Return the number of values in a value; one that several aliases refer to counts each time."""
    if not isinstance(value, dict | list):
        return 1
    if id(value) not in known:
        inside = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_count_values(one, known) for one in inside)
    if known[id(value)] > MAX_VALUES:
        raise ValueError(f"its aliases expand to more than {MAX_VALUES:,} values")
    return known[id(value)]
