"""What commands and the notification pipeline say, in the reader's language: they speak English, in fixed sentences."""

import re
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Final

import re2

from toban.core.message_catalogue import LANGUAGES
from toban.web.pages.i18n import texts

SENTENCE: Final = "sentence-"
"""How the keys of these sentences begin in the messages: in English they are patterns, whose places match anything."""

_PLACE: Final = re.compile(r"\{(\w+)\}")
_PLURAL: Final = re.compile(r"( (?:(?:older|unfinished) )?[a-z]{2,30})s\b", re.ASCII)


def translate(text: str, language: str) -> str:
    """Return an error or a reason in a language; in English where nothing is known of it."""
    if language == LANGUAGES[0]:
        return text
    parts = text.split("; ")
    # What is known part by part is not taken for one sentence with the rest in one of its places.
    known = [_sentence(part, language) for part in parts]
    if all(known):
        return "; ".join(known)
    return _sentence(text, language) or "; ".join(_field(part, language) for part in parts)


def _field(text: str, language: str) -> str:
    """Return one of several errors, each of which may begin with the field that is wrong."""
    field, colon, rest = text.partition(": ")
    label = texts(language).get(f"field-{field.partition('.')[0]}") if colon else None
    if label:
        return f"{label}: {_sentence(rest, language) or rest}"
    return _sentence(text, language) or text


def _sentence(text: str, language: str) -> str:
    for pattern, name in _patterns():
        if found := pattern.fullmatch(text):
            values = found.groupdict()
            # A reason may have an error of its own in it.
            if "reason" in values:
                values["reason"] = translate(values["reason"], language)
            return texts(language)[f"sentence-{name}"].format(**values)
    return ""


@cache
def _patterns() -> Sequence[tuple[Any, str]]:
    """Return the patterns with the names of their sentences; what says more stands first."""
    english = texts(LANGUAGES[0])
    known = {key.removeprefix(SENTENCE): text for key, text in english.items() if key.startswith(SENTENCE)}
    ordered = sorted(known, key=lambda name: len(_PLACE.sub("", known[name])), reverse=True)
    return [(re2.compile(_pattern(known[name])), name) for name in ordered]


def _pattern(text: str) -> str:
    *parts, last = [(text[begin:end], name) for begin, end, name in _pieces(text)]
    fixed, before = "", ""
    for part, name in parts:
        fixed += f"{_nouns(part, before)}(?P<{name}>.*)"
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
