"""The text of `toban.yaml` as a tree of texts, with the environment's values in their places."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from toban.core.yaml_loader import StrictLoader, explained

LARGEST: Final = 1_000_000
"""Characters: what is longer is no configuration."""

Place = tuple[int | str, ...]
"""Where something stands: the names and numbers that lead to it."""


class PlainScalar(str):
    """A scalar that was written without quotes: where any value is allowed, YAML decides what it is."""

    __slots__ = ()


class InvalidValue:
    """Stands where a value can't be had; the mistake was noted."""


@dataclass(frozen=True, slots=True)
class ConfigProblem:
    """What is wrong, and where; ``line`` is 0 where nobody knows."""

    path: Place
    message: str
    line: int = 0

    def as_line(self, where: str) -> str:
        """Return it as a line for people; ``where`` is what was read."""
        line = f"line {self.line}: " if self.line else ""
        place = ".".join(map(str, self.path))
        return f"{where}: {line}{place}{': ' if place else ''}{self.message}"


@dataclass(slots=True)
class ConfigDocument:
    """A configuration as it is written: its tree, the line of each place, and what is wrong with it so far."""

    tree: dict[str, Any] = field(default_factory=dict)
    lines: dict[Place, int] = field(default_factory=dict)
    problems: list[ConfigProblem] = field(default_factory=list)

    def line(self, place: Place) -> int:
        """Return the line of a place, or of the nearest one around it; 0 where there is none."""
        return next((self.lines[place[:size]] for size in range(len(place), 0, -1) if place[:size] in self.lines), 0)


def parse(text: str) -> ConfigDocument:
    """Read YAML. Never raises: what is wrong stands in the document's mistakes."""
    document = ConfigDocument()
    if len(text) > LARGEST:
        document.problems.append(ConfigProblem((), f"longer than {LARGEST} characters: that is no configuration"))
        return document
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
        document.problems += loader.mistakes
        found = _Reading(document).value(node, ()) if node else None
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        document.problems.append(ConfigProblem((), _explained(error, text), line))
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


def _explained(error: yaml.MarkedYAMLError, text: str) -> str:
    """Return what YAML says is wrong, with what can't be seen in the line."""
    says = explained(error)
    if error.problem_mark:
        line = "".join(text.split("\n")[error.problem_mark.line : error.problem_mark.line + 1])
        odd = sorted({f"U+{ord(sign):04X}" for sign in line if sign.isspace() and sign not in " \t\r"})
        if "${" in line:
            says += " (between { } or [ ] a ${NAME} stands in quotes)"
        if odd:
            says += f" (the line holds {', '.join(odd)}, which only looks like a blank)"
    return says


class _Loader(StrictLoader):
    """YAML without aliases, which grow without bounds: each is noted and passed over."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.mistakes: list[ConfigProblem] = []

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if not self.check_event(yaml.AliasEvent):
            return super().compose_node(parent, index)
        mark = self.get_event().start_mark  # type: ignore[no-untyped-call]  # the stubs lack it
        self.mistakes.append(ConfigProblem((), "aliases are not read here: write it out", mark.line + 1))
        return yaml.ScalarNode("tag:yaml.org,2002:null", "", mark, mark)


class _Reading:
    """Turns nodes into a tree of texts; what is wrong is noted, and the rest is read."""

    def __init__(self, document: ConfigDocument) -> None:
        self._document = document

    def value(self, node: yaml.Node, place: Place) -> Any:
        """Return what a node stands for: names with values, a list, a text or nothing."""
        self._document.lines[place] = node.start_mark.line + 1
        if node.tag.startswith("!") or node.tag.startswith("tag:yaml.org,2002:python/"):
            self._wrong(node, place, f"the tag {node.tag.replace('tag:yaml.org,2002:', '!!')} is not read here")
            return InvalidValue()
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, place)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(entry, (*place, number)) for number, entry in enumerate(node.value)]
        if node.tag == "tag:yaml.org,2002:null":
            return None
        plain = isinstance(node, yaml.ScalarNode) and not node.style
        return PlainScalar(node.value) if plain else str(node.value)

    def _mapping(self, node: yaml.MappingNode, place: Place) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, inner in node.value:
            if not isinstance(key, yaml.ScalarNode) or not key.value:
                self._wrong(key, place, "a name must be a word (or in quotes)")
            elif key.value == "<<" and not key.style:
                self._wrong(key, place, "`<<` is not read here: write it out")
            elif key.value in found:
                self._wrong(key, place, f"{key.value!r} is there twice")
            elif "${" in key.value:
                self._wrong(key, place, f"{key.value!r}: a name can't come from the environment: write it out")
            else:
                found[key.value] = self.value(inner, (*place, key.value))
                self._document.lines[(*place, key.value)] = key.start_mark.line + 1
        return found

    def _wrong(self, node: yaml.Node, place: Place, says: str) -> None:
        self._document.problems.append(ConfigProblem(place, says, node.start_mark.line + 1))


_VARIABLE: Final = re.compile(r"\$(?P<escaped>\$)?\{(?:(?P<name>[A-Za-z_]\w*)\})?", re.ASCII)


def expand_variables(document: ConfigDocument, environment: Mapping[str, str]) -> None:
    """
    Put the environment's values where ``${NAME}`` stands in any text; ``$${`` stands for ``${`` itself.

    What can't be had is noted, and `InvalidValue` stands in its place. Blanks and line ends round a value are left out.
    """
    document.tree = _expanded(document.tree, environment, document, ())


def _expanded(value: Any, environment: Mapping[str, str], document: ConfigDocument, place: Place) -> Any:
    if isinstance(value, dict):
        return {name: _expanded(inner, environment, document, (*place, name)) for name, inner in value.items()}
    if isinstance(value, list):
        return [_expanded(inner, environment, document, (*place, number)) for number, inner in enumerate(value)]
    if not isinstance(value, str) or "${" not in value:
        return value
    missing: dict[str, None] = {}

    def known(found: re.Match[str]) -> str:
        if found["escaped"]:
            return found[0][1:]
        if not found["name"]:
            missing["`${` begins no ${NAME}: write ${NAME}, or $${ for the characters themselves"] = None
        elif found["name"] not in environment:
            missing[f"${{{found['name']}}} is not set in the environment: set it, or write the value here"] = None
        return environment.get(found["name"] or "", "").strip()

    filled = _VARIABLE.sub(known, value)
    if missing:
        document.problems += [ConfigProblem(place, says, document.line(place)) for says in missing]
        return InvalidValue()
    return type(value)(filled)


def strip_copied(text: str) -> str:
    """
    Return a secret or an address without what copying left round it: blanks, line ends, one pair of quotes.

    Files of secrets end with a line end; `docker --env-file` keeps quotes. Who needs them writes quotes round them.
    """
    bare = text.strip()
    if len(bare) > 1 and bare[0] == bare[-1] and bare[0] in "\"'":
        return bare[1:-1]
    return bare
