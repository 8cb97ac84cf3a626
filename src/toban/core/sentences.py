"""
Sentences in other languages: the code says them in English, and message catalogues have them under `sentence-…`.

In English a catalogue has patterns, whose places match anything. What is stored or sent thus stays the same text in all
languages, and is translated where somebody reads it.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Final

import re2

from toban.core.message_catalogue import LANGUAGES, catalogue

SENTENCE: Final = "sentence-"
"""How the keys of these sentences begin."""

NESTED: Final = frozenset({"reason", "plan", "approved"})
"""Places in which another sentence may be."""

WORDS: Final = frozenset({"count", "number", "machine"})
"""Places in which there is one word."""

_PLACE: Final = re.compile(r"\{(\w+)\}")
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{1,60}", re.ASCII)
_PLURAL: Final = re.compile(r"( (?:(?:older|unfinished) )?[a-z]{2,30})s\b", re.ASCII)


class Sentences:
    """The sentences of some packages."""

    def __init__(self, *packages: str) -> None:
        self._packages = packages

    def translate(self, text: str, language: str) -> str:
        """Return an error or a reason in a language; in English where nothing is known of it."""
        if language == LANGUAGES[0]:
            return text
        # A sentence may have others in it; what is of several parts is not one whose name or number has the rest in it.
        if found := self._sentence(text, language, is_whole=True):
            return found
        parts = text.split("; ")
        known = [self._sentence(part, language) for part in parts]
        if all(known):
            return "; ".join(known)
        return self._sentence(text, language) or "; ".join(self._part(part, language) for part in parts)

    def _part(self, text: str, language: str) -> str:
        """Return one of several sentences; each may begin with the field that is wrong, or with what it is about."""
        name, colon, rest = text.partition(": ")
        if colon and (label := self._label(name, language)):
            return f"{label}: {self._sentence(rest, language) or rest}"
        if found := self._sentence(text, language):
            return found
        return f"{name}: {self.translate(rest, language)}" if colon and _NAME.fullmatch(name) else text

    def _label(self, name: str, language: str) -> str:
        key = f"field-{name.partition('.')[0]}"
        return next((found for it in self._packages if (found := catalogue(it, language).get(key))), "")

    def _sentence(self, text: str, language: str, *, is_whole: bool = False) -> str:
        """Return the sentence that is known, or nothing; of one that ``is_whole`` no simple place has several parts."""
        for literal, pattern, package, of in _patterns(self._packages):
            # Most are told apart by their words: a regular expression takes a hundred times as long.
            if literal in text and (found := pattern.fullmatch(text)):
                values = found.groupdict()
                if is_whole and any("; " in it for name, it in values.items() if name not in NESTED):
                    continue
                # A reason may have an error of its own in it.
                for name in NESTED & values.keys():
                    values[name] = self.translate(values[name], language)
                return catalogue(package, language)[f"sentence-{of}"].format(**values)
        return ""


@cache
def _patterns(packages: Sequence[str]) -> Sequence[tuple[str, Any, str, str]]:
    """
    Return the patterns with the packages and names of their sentences; what says more stands first.

    Before each is the longest text that is in everything that it matches.
    """
    known = [
        (text, package, key.removeprefix(SENTENCE))
        for package in packages
        for key, text in catalogue(package, LANGUAGES[0]).items()
        if key.startswith(SENTENCE)
    ]
    ordered = sorted(known, key=lambda it: len(_PLACE.sub("", it[0])), reverse=True)
    return [(_literal(text), re2.compile(_pattern(text)), package, name) for text, package, name in ordered]


def _literal(text: str) -> str:
    fixed, before = list[str](), ""
    for begin, end, name in _pieces(text):
        part = text[begin:end]
        found = _PLURAL.match(part) if before == "count" else None
        fixed += [found[1], part[found.end() :]] if found else [part]
        before = name
    return max(fixed, key=len)


def _pattern(text: str) -> str:
    *parts, last = [(text[begin:end], name) for begin, end, name in _pieces(text)]
    fixed, before = "", ""
    for part, name in parts:
        anything = r"[^\s;]*" if name in WORDS else ".*"
        fixed += f"{_nouns(part, before)}(?P<{name}>{anything})"
        before = name
    return f"(?s){fixed}{_nouns(last[0], before)}"


def _nouns(part: str, before: str) -> str:
    """Return the pattern of a fixed part: the noun after a count may be in the singular."""
    found = _PLURAL.match(part) if before == "count" else None
    return f"{re2.escape(found[1])}s?{re2.escape(part[found.end() :])}" if found else re2.escape(part)


def _pieces(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield where the text before each place begins and ends, with the name of the place; the rest has none."""
    begin = 0
    for found in _PLACE.finditer(text):
        yield begin, found.start(), found[1]
        begin = found.end()
    yield begin, len(text), ""
