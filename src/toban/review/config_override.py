"""Adds the override of a rule to the text of `toban.yaml`; comments and order stay."""

import re
from typing import Final

from toban.core.config_file import parse
from toban.core.errors import SettingsError

KEY: Final = re.compile(r"( *)([A-Za-z_][\w-]*):(.*)")
VALUE: Final = re.compile(r"( *)([A-Za-z_]\w*):[^#]*?( +#.*)?")
"""A setting on a line of its own, perhaps with a comment behind it."""


def with_override(text: str, rule: str, settings: dict[str, str], comment: str) -> str:
    """
    Return the text of a configuration with ``alerting.overrides.RULE``; other settings of such an override stay.

    Raises ``SettingsError`` where the section is written in braces.
    """
    lines = text.splitlines()
    block = override_lines(rule, settings, comment)
    at = _find(lines, 0, len(lines), "", "alerting")
    if at is None:
        found = [*lines, *([""] if lines and lines[-1] else []), "alerting:", "  overrides:", *_indented(block, "    ")]
        return _checked(text, found, rule, settings)
    end = _end(lines, at, "")
    indent = _indent_of_children(lines, at, end, "  ")
    overrides = _find(lines, at + 1, end, indent, "overrides")
    if overrides is None:
        addition = [f"{indent}overrides:", *_indented(block, f"{indent}  ")]
        return _checked(text, [*lines[: at + 1], *addition, *lines[at + 1 :]], rule, settings)
    inner_end = min(_end(lines, overrides, indent), end)
    inner = _indent_of_children(lines, overrides, inner_end, f"{indent}  ")
    present = _find(lines, overrides + 1, inner_end, inner, rule)
    if present is not None:
        after = min(_end(lines, present, inner), inner_end)
        own = _changed(lines[present:after], settings, f"{inner}  ")
        found = [*lines[:present], f"{inner}# {comment}", *own, *lines[after:]]
        return _checked(text, found, rule, settings)
    addition = _indented(block, inner)
    return _checked(text, [*lines[: overrides + 1], *addition, *lines[overrides + 1 :]], rule, settings)


def override_lines(rule: str, settings: dict[str, str], comment: str) -> list[str]:
    """Return the lines of an override, with its evidence as a comment."""
    return [f"# {comment}", f"{rule}:", *(f"  {name}: {value}" for name, value in settings.items())]


def _changed(block: list[str], settings: dict[str, str], default: str) -> list[str]:
    """Return the block of an override, its key first, with some settings changed or added."""
    indent = _indent_of_children(block, 0, len(block), default)
    found = list(block)
    for name, value in reversed(settings.items()):
        for place, line in enumerate(found):
            match = VALUE.fullmatch(line)
            if match and match[1] == indent and match[2] == name:
                found[place] = f"{indent}{name}: {value}{match[3] or ''}"
                break
        else:
            found.insert(1, f"{indent}{name}: {value}")
    return found


def _find(lines: list[str], start: int, end: int, indent: str, key: str) -> int | None:
    """Return the line of a key of a block. Raises ``SettingsError`` where its value is in braces."""
    for place in range(start, end):
        match = KEY.fullmatch(lines[place])
        if match and match[1] == indent and match[2] == key:
            value = match[3].strip()
            if value and not value.startswith("#"):
                raise SettingsError(f"line {place + 1}: {key} is not written line by line: change it by hand")
            return place
    return None


def _end(lines: list[str], at: int, indent: str) -> int:
    """Return the line after the block of a key."""
    for place in range(at + 1, len(lines)):
        line = lines[place]
        if line.strip() and not line.lstrip().startswith("#") and len(line) - len(line.lstrip()) <= len(indent):
            return place
    return len(lines)


def _indent_of_children(lines: list[str], at: int, end: int, default: str) -> str:
    for line in lines[at + 1 : end]:
        if line.strip() and not line.lstrip().startswith("#"):
            return line[: len(line) - len(line.lstrip())]
    return default


def _indented(block: list[str], indent: str) -> list[str]:
    return [indent + line for line in block]


def _checked(before: str, lines: list[str], rule: str, settings: dict[str, str]) -> str:
    """Return the new text, after it was read again: it has the override, and nothing else has changed."""
    text = "\n".join(lines) + "\n"
    expected = dict(parse(before).tree)
    alerting = dict(expected.get("alerting") or {})
    known = dict(alerting.get("overrides") or {})
    overrides = {**known, rule: {**(known.get(rule) or {}), **settings}}
    if parse(text).tree != {**expected, "alerting": {**alerting, "overrides": overrides}}:
        raise SettingsError("the configuration could not be changed safely: write the override by hand")
    return text
