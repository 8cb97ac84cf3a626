"""
Matchers of text: over thousands of rows at once, and over a single row.

A search over all rows of a chunk finds candidates; where it can find too many, each is proved on its row alone. Case is
ignored for ASCII letters; for a text with other letters that have a case, as RE2's ``(?i)`` does.
"""

import re
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import numpy as np
import re2

from toban.core.matchers import compile_regex
from toban.logs.line_store import TextFilter
from toban.logs.store.chunk import ChunkText, Flags
from toban.logs.store.row_codec import ESCAPE_BYTE, MARKS, searched_text, valid
from toban.logs.store.signature import MAX_TERMS, Terms, terms_of

FEW_ROWS: Final = 64
"""Rows that are searched one by one rather than all rows of the chunk at once."""

Find = Callable[[int], int]
"""Returns where the next candidate begins, from a place in the text on; -1 when there is none."""

_CONTROL: Final = re.compile("[\x00-\x1f]")
_UNSURE: Final = re.compile("[ksKS\x80-\U0010ffff]")
"""Without regard to case, `k` and `s` are also letters beyond ASCII: the Kelvin sign, the long s."""

_NO_TERMS: Final = terms_of("")

_OUTSIDE: Final = re.compile(
    r"\\[pP](?:\{[^}]*\}|.)|\\.|\(\?(?:P?<\w+>|[a-zA-Z-]*[:)]|)|\[\^?\]?|\{\d*,?\d*\}|.", re.DOTALL | re.ASCII
)
_INSIDE: Final = re.compile(r"\\[pP](?:\{[^}]*\}|.)|\\.|\[:\^?\w*:\]|.", re.DOTALL | re.ASCII)
"""Tokens of an expression outside and inside a class of characters."""

_PLAIN_GROUP: Final = re.compile(r"\(\?(?:P?<\w+>|[is]*[:)])", re.ASCII)
_BULK_ESCAPES: Final = frozenset("dDwWbBsStpP")
"""Escapes with a letter that match a mark where they match a line break, or are made to."""
_KNOWN_ESCAPES: Final = frozenset("dDwWsSbBtnrfvapP")
"""Escapes with a letter that stand for one character at most."""


class TextMatcher(ABC):
    """One text or expression."""

    terms: Terms = _NO_TERMS
    """Terms that the signature of a chunk with a matching line has."""

    @abstractmethod
    def matches(self, row: bytes) -> bool:
        """Return whether a row matches."""

    def rows(self, text: ChunkText, wanted: Flags) -> Flags:
        """Return which of the wanted rows match."""
        found = np.zeros(len(wanted), np.bool_)
        numbers = np.flatnonzero(wanted).tolist()
        if len(numbers) > FEW_ROWS and (bulk := self.bulk(text)):
            find, is_exact = bulk
            numbers = _candidates(text, find, wanted)
            if is_exact:
                found[numbers] = True
                return found
        found[[number for number in numbers if self.matches(text.row(number))]] = True
        return found

    @abstractmethod
    def bulk(self, text: ChunkText) -> tuple[Find, bool] | None:
        """
        Return how to find all matching rows of a chunk, and perhaps others; None when there is no way.

        The flag tells that no others are found.
        """


class _PlainText(TextMatcher):
    """A text, anywhere in a row."""

    def __init__(self, text: str) -> None:
        self._text = text.encode()
        # What has no line break and no mark is stored as it is.
        self._probe = max(_CONTROL.split(text), key=len).encode()
        self.terms = terms_of(text)

    def matches(self, row: bytes) -> bool:
        return self._text in searched_text(row)

    def bulk(self, text: ChunkText) -> tuple[Find, bool] | None:
        if not self._probe:
            return None
        return (lambda place: text.data.find(self._probe, place, text.size)), self._probe == self._text


class _TextInAnyCase(_PlainText):
    """A text whose ASCII letters are found in any case."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._lower = self._text.lower()
        self._folded = bytes(byte | 0x20 for byte in self._probe)

    def matches(self, row: bytes) -> bool:
        return self._lower in searched_text(row).lower()

    def bulk(self, text: ChunkText) -> tuple[Find, bool] | None:
        return ((lambda place: text.folded.find(self._folded, place)), False) if self._probe else None


class _Expression(TextMatcher):
    """An RE2 expression, anywhere in a row; ``.`` matches a line break."""

    def __init__(self, pattern: str, *, ignore_case: bool) -> None:
        compile_regex(pattern)
        flags = "(?i)" if ignore_case else ""
        self._regex = compile_regex(flags + pattern)
        bulk = bulk_pattern(pattern)
        self._bulk: Any = None if bulk is None else _compile_bulk(f"(?m){flags}{bulk}")
        runs = [part for run in literals(pattern) for part in (_UNSURE.split(run) if ignore_case else [run])]
        terms = [terms_of(run) for run in runs]
        self.terms = np.unique(np.concatenate([_NO_TERMS, *terms]))[:MAX_TERMS]

    def matches(self, row: bytes) -> bool:
        return self._regex.search(searched_text(row)) is not None

    def bulk(self, text: ChunkText) -> tuple[Find, bool] | None:
        regex = self._bulk
        if regex is None:
            return None
        # The match of a row with a stand-in for a mark may differ: each such row is a candidate.
        next_escape = text.data.find(ESCAPE_BYTE, 0, text.size)

        def find(place: int) -> int:
            nonlocal next_escape
            if -1 < next_escape < place:
                next_escape = text.data.find(ESCAPE_BYTE, place, text.size)
            end = text.size if next_escape < 0 else text.starts[bisect_right(text.starts, next_escape)]
            found = regex.search(text.data, place, end)
            if found and (next_escape < 0 or found.start() <= next_escape):
                return int(found.start())
            return next_escape

        return find, False


def matcher_of(text: str, *, is_regex: bool, ignore_case: bool) -> TextMatcher | None:
    """Return the matcher of a text, None when every line matches. Raises ``BadQueryError``."""
    if not text:
        return None
    text = valid(text)
    if is_regex:
        return _Expression(text, ignore_case=ignore_case)
    if not ignore_case:
        return _PlainText(text)
    if any(
        character.lower() != character or character.upper() != character for character in text if character > "\x7f"
    ):
        return _Expression(re2.escape(text), ignore_case=True)
    return _TextInAnyCase(text)


class FilterMatcher:
    """
    A filter: lines match when one of its matchers does, or none of them when it is negated.

    ``alternatives`` are terms, of which the signature of a chunk with a matching line has all of at least one; None
    when any chunk may have one.
    """

    def __init__(self, text_filter: TextFilter) -> None:
        matchers = [
            matcher_of(text, is_regex=text_filter.is_regex, ignore_case=text_filter.ignore_case)
            for text in text_filter.texts
        ]
        self._is_negated = text_filter.is_negated
        self._matches_all = None in matchers
        self._matchers = [matcher for matcher in matchers if matcher]
        alternatives = [matcher.terms for matcher in self._matchers]
        is_sure = not self._is_negated and not self._matches_all and all(map(len, alternatives))
        self.alternatives: Sequence[Terms] | None = alternatives if is_sure else None

    def rows(self, text: ChunkText, wanted: Flags) -> Flags:
        """Return which of the wanted rows match."""
        found = wanted.copy() if self._matches_all else np.zeros(len(wanted), np.bool_)
        for matcher in self._matchers:
            rest = wanted & ~found
            if not rest.any():
                break
            found |= matcher.rows(text, rest)
        return wanted & ~found if self._is_negated else found


def bulk_pattern(pattern: str) -> str | None:
    """
    Return a valid expression for rows in which marks stand for line breaks; None when it may differ there.

    It matches in every row that the expression matches, and perhaps in others.
    """
    parts = []
    for part, inside in _tokens(pattern):
        if part < " ":
            return None
        if part[0] == "\\":
            letter = part[1]
            if letter < " " or (letter.isalnum() and letter not in _BULK_ESCAPES) or (letter == "S" and inside):
                return None
            if letter == "s":
                part = rf"{MARKS}\s" if inside else rf"[{MARKS}\s]"
        elif inside:
            if part.startswith("[:") and ("space" in part or "^" in part):
                return None
        elif part.startswith("(?") and not _PLAIN_GROUP.fullmatch(part):
            return None
        parts.append(part)
    return "".join(parts)


def literals(pattern: str) -> list[str]:
    """Return texts that every match of a valid expression has; perhaps there are more."""
    runs, depth = [""], 0
    for part, inside in _tokens(pattern):
        if (part.startswith("(?") and not part.startswith(("(?:", "(?P<", "(?<"))) or (
            part[0] == "\\" and part[1] not in _KNOWN_ESCAPES and part[1].isalnum()
        ):
            return []
        if part[0] == "(" and not inside:
            depth += 1
            runs.append("")
        elif part == ")" and not inside:
            depth -= 1
        elif depth or inside:
            continue
        elif part == "|":
            return []
        elif part[0] in "*?" or (part[0] == "{" and len(part) > 1):
            runs[-1:] = [runs[-1][:-1], ""]
        elif part[0] == "\\" and not part[1].isalnum():
            runs[-1] += part[1]
        elif part[0] in "\\.^$[+":
            runs.append("")
        else:
            runs[-1] += part
    return [run for run in runs if run]


def _tokens(pattern: str) -> Iterator[tuple[str, bool]]:
    """Yield each token, and whether it is inside a class of characters."""
    place, inside = 0, False
    while found := (_INSIDE if inside else _OUTSIDE).match(pattern, place):
        part, place = found[0], found.end()
        yield part, inside
        inside = part != "]" if inside else part[0] == "["


def _compile_bulk(pattern: str) -> Any:
    options = re2.Options()
    options.log_errors = False
    options.dot_nl = True
    options.never_nl = True  # no match crosses the end of a row
    return re2.compile(pattern, options)


def _candidates(text: ChunkText, find: Find, wanted: Flags) -> list[int]:
    """Return the wanted rows in which something is found, each once."""
    numbers, place = [], find(0)
    while 0 <= place < text.size:
        row = bisect_right(text.starts, place) - 1
        if wanted[row]:
            numbers.append(row)
        place = find(text.starts[row + 1]) if text.starts[row + 1] < text.size else -1
    return numbers


def all_match(filters: Sequence[FilterMatcher], text: ChunkText, wanted: Flags) -> Flags:
    """Return which of the wanted rows match all filters."""
    for one in filters:
        if not wanted.any():
            break
        wanted = one.rows(text, wanted)
    return wanted
