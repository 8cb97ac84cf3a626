"""Parses `toban.yaml` into a tree of texts, and expands variables of the environment."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from toban.core.yaml_loader import StrictLoader, yaml_problem

MAX_CHARACTERS: Final = 1_000_000
"""Characters of a configuration."""

ConfigPath = tuple[int | str, ...]
"""The path to a setting: names, and indexes of lists."""


class PlainScalar(str):
    """A scalar without quotes: where any value is allowed, YAML decides its type."""

    __slots__ = ()


class InvalidValue:
    """Replaces an invalid value; its problem is in the document."""


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """A problem of the configuration, and its path; ``line`` is 0 if it is unknown."""

    path: ConfigPath
    message: str
    line: int = 0

    def as_line(self, file: str) -> str:
        """Return the problem in one line, after the name of the file."""
        line = f"line {self.line}: " if self.line else ""
        path = ".".join(map(str, self.path))
        return f"{file}: {line}{path}{': ' if path else ''}{self.message}"


@dataclass(slots=True)
class ConfigDocument:
    """A parsed configuration: its tree, the line of each path, and the problems so far."""

    tree: dict[str, Any] = field(default_factory=dict)
    lines: dict[ConfigPath, int] = field(default_factory=dict)
    problems: list[ConfigProblem] = field(default_factory=list)

    def line(self, path: ConfigPath) -> int:
        """Return the line of a path, or of its nearest parent; 0 if there is none."""
        return next((self.lines[path[:size]] for size in range(len(path), 0, -1) if path[:size] in self.lines), 0)


def parse(text: str) -> ConfigDocument:
    """Parse YAML. It raises nothing: problems are in the document."""
    document = ConfigDocument()
    if len(text) > MAX_CHARACTERS:
        document.problems.append(
            ConfigProblem((), f"longer than {MAX_CHARACTERS} characters: this is not a configuration")
        )
        return document
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
        document.problems += loader.problems
        found = _TreeBuilder(document).value(node, ()) if node else None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        document.problems.append(ConfigProblem((), _message(error, text), line))
        return document
    except (yaml.YAMLError, ValueError) as error:
        document.problems.append(ConfigProblem((), " ".join(str(error).split())))
        return document
    except RecursionError:
        document.problems.append(ConfigProblem((), "nested too deeply to be a configuration"))
        return document
    if isinstance(found, dict):
        document.tree = found
    elif found is not None:
        document.problems.append(ConfigProblem((), "must be names with values, like `web: {listen: 127.0.0.1:9119}`"))
    return document


def _message(error: yaml.MarkedYAMLError, text: str) -> str:
    """Return the problem of an error of YAML, with a hint about what is invisible in its line."""
    message = yaml_problem(error)
    if error.problem_mark:
        line = "".join(text.split("\n")[error.problem_mark.line : error.problem_mark.line + 1])
        spaces = sorted({f"U+{ord(it):04X}" for it in line if it.isspace() and it not in " \t\r"})
        if "${" in line:
            message += " (between { } or [ ] put ${NAME} in quotes)"
        if spaces:
            message += f" (the line has {', '.join(spaces)}, which looks like a space)"
    return message


class _Loader(StrictLoader):
    """Loads YAML without aliases, which can expand without limit: each is a problem, and read as null."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.problems: list[ConfigProblem] = []

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if not self.check_event(yaml.AliasEvent):
            return super().compose_node(parent, index)
        mark = self.get_event().start_mark  # type: ignore[no-untyped-call]  # the stubs lack it
        self.problems.append(ConfigProblem((), "aliases are not allowed here: write the value out", mark.line + 1))
        return yaml.ScalarNode("tag:yaml.org,2002:null", "", mark, mark)


class _TreeBuilder:
    """Builds a tree of texts from nodes; an invalid value is a problem, and the rest is read."""

    def __init__(self, document: ConfigDocument) -> None:
        self._document = document

    def value(self, node: yaml.Node, path: ConfigPath) -> Any:
        """Return the value of a node: a mapping, a list, a text or None."""
        self._document.lines[path] = node.start_mark.line + 1
        if node.tag.startswith("!") or node.tag.startswith("tag:yaml.org,2002:python/"):
            self._add_problem(node, path, f"the tag {node.tag.replace('tag:yaml.org,2002:', '!!')} is not allowed here")
            return InvalidValue()
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(entry, (*path, number)) for number, entry in enumerate(node.value)]
        if node.tag == "tag:yaml.org,2002:null":
            return None
        plain = isinstance(node, yaml.ScalarNode) and not node.style
        return PlainScalar(node.value) if plain else str(node.value)

    def _mapping(self, node: yaml.MappingNode, path: ConfigPath) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, inner in node.value:
            if not isinstance(key, yaml.ScalarNode) or not key.value:
                self._add_problem(key, path, "a name must be a word (or in quotes)")
            elif key.value == "<<" and not key.style:
                self._add_problem(key, path, "`<<` is not allowed here: write the values out")
            elif key.value in found:
                self._add_problem(key, path, f"duplicate name {key.value!r}")
            elif "${" in key.value:
                self._add_problem(key, path, f"{key.value!r}: variables are not allowed in names: write the name out")
            else:
                found[key.value] = self.value(inner, (*path, key.value))
                self._document.lines[(*path, key.value)] = key.start_mark.line + 1
        return found

    def _add_problem(self, node: yaml.Node, path: ConfigPath, message: str) -> None:
        self._document.problems.append(ConfigProblem(path, message, node.start_mark.line + 1))


_VARIABLE: Final = re.compile(r"\$(?P<escaped>\$)?\{(?:(?P<name>[A-Za-z_]\w*)\})?", re.ASCII)


def expand_variables(document: ConfigDocument, environment: Mapping[str, str]) -> None:
    """
    Replace ``${NAME}`` in all texts by variables of the environment; ``$${`` is ``${`` itself.

    A text with an unknown variable is a problem, and becomes an `InvalidValue`. Values are stripped of white space.
    """
    document.tree = _expanded(document.tree, environment, document, ())


def _expanded(value: Any, environment: Mapping[str, str], document: ConfigDocument, path: ConfigPath) -> Any:
    if isinstance(value, dict):
        return {name: _expanded(inner, environment, document, (*path, name)) for name, inner in value.items()}
    if isinstance(value, list):
        return [_expanded(inner, environment, document, (*path, number)) for number, inner in enumerate(value)]
    if not isinstance(value, str) or "${" not in value:
        return value
    missing: dict[str, None] = {}

    def replacement(found: re.Match[str]) -> str:
        if found["escaped"]:
            return found[0][1:]
        if not found["name"]:
            missing["`${` without a name: write ${NAME}, or $${ for the characters themselves"] = None
        elif found["name"] not in environment:
            missing[f"${{{found['name']}}} is not set in the environment: set it, or write the value here"] = None
        return environment.get(found["name"] or "", "").strip()

    expanded = _VARIABLE.sub(replacement, value)
    if missing:
        document.problems += [ConfigProblem(path, message, document.line(path)) for message in missing]
        return InvalidValue()
    return type(value)(expanded)


def strip_copied(text: str) -> str:
    """
    Return a secret or an address without what copying adds: white space and one pair of quotes around it.

    Files of secrets end with a line break, and `docker --env-file` keeps quotes. A value that needs quotes is quoted
    twice.
    """
    bare = text.strip()
    if len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "\"'":
        return bare[1:-1]
    return bare
