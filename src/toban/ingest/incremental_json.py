"""
Parses large JSON in pieces, so that other tasks can run in between.

orjson parses 4 MiB at once in 40 ms and more. Here the brackets of a body are found first, then its long lists are cut
between their elements, and orjson parses each piece. The result is the same as orjson's of the whole.
"""

import re
from collections.abc import Generator
from typing import Any, Final

import numpy as np
import orjson

from toban.core.gc_pause import collection_paused

PIECE: Final = 2**19
"""Bytes that are parsed without a pause: orjson takes some 5 ms."""

MAX_LEVEL: Final = 6
"""Lists down to this level are cut: `resourceSpans` is at level 2, `scopeSpans` at 4, `spans` at 6."""

MAX_LISTS: Final = 1_000
"""Lists of an object up to which it is cut; one with more is parsed as a whole."""

QUOTE, BACKSLASH, OPENS_LIST = b'"\\['
NESTING: Final = np.zeros(256, np.int8)
"""How a character changes the nesting level."""
NESTING[list(b"[{")], NESTING[list(b"]}")] = 1, -1

OBJECT: Final = re.compile(rb"[ \t\r\n]*{")
COMMA: Final = re.compile(rb"[ \t\r\n]*,[ \t\r\n]*")

Steps = Generator[None, None, Any]
"""Yields where other tasks may run, and returns the parsed value. Raises ``ValueError``."""


def read_json(body: bytes) -> Steps:
    """Parse a body as `orjson.loads` does."""
    if len(body) <= PIECE:
        return _read(body)
    return (yield from _Cutter(body, *(yield from _brackets(body))).value(0, len(body), 2))


def _brackets(body: bytes) -> Steps:
    """Return the positions of the brackets down to the level of lists that are cut, and the level after each."""
    text, places, levels = np.frombuffer(body, np.uint8), [], []
    level, inside, escaped = 0, 0, False
    for start in range(0, len(body), PIECE):
        part = text[start : start + PIECE]
        quotes = np.flatnonzero(part == QUOTE)
        slashes = np.flatnonzero(part == BACKSLASH)
        if escaped or len(slashes):
            quotes, escaped = _unescaped(quotes, slashes, len(part), escaped)
        brackets = np.flatnonzero(NESTING[part])
        brackets = brackets[(np.searchsorted(quotes, brackets) + inside) % 2 == 0]
        after = level + np.cumsum(NESTING[part[brackets]], dtype=np.int64)
        relevant = after <= MAX_LEVEL
        places.append(brackets[relevant] + start)
        levels.append(after[relevant])
        level = int(after[-1]) if len(after) else level
        inside = (inside + len(quotes)) % 2
        yield
    return np.concatenate(places), np.concatenate(levels)


def _unescaped(quotes: Any, slashes: Any, size: int, first: bool) -> tuple[Any, bool]:
    """
    Return the quotes that no backslash escapes, and whether the first character of the next part is escaped.

    ``first`` is whether that of this part is.
    """
    # An escaped backslash escapes nothing: in a run every other one escapes.
    starts = slashes[np.diff(slashes, prepend=-2) > 1]
    run = starts[np.searchsorted(starts, slashes, "right") - 1] if len(slashes) else slashes
    offset = np.where((run == 0) & first, 1, 0)
    escaping = slashes[(slashes - run + offset) % 2 == 0]
    escapes = np.concatenate(([0] if first else [], escaping + 1)).astype(np.int64)
    return quotes[~np.isin(quotes, escapes, assume_unique=True)], bool(len(escapes) and escapes[-1] == size)


class _Cutter:
    """A body, and the positions of its brackets."""

    def __init__(self, body: bytes, places: Any, levels: Any) -> None:
        self._body = body
        text = np.frombuffer(body, np.uint8)[places]
        opening = NESTING[text] > 0
        self._lists = {level: places[(levels == level) & (text == OPENS_LIST)] for level in range(2, MAX_LEVEL + 1, 2)}
        self._ends = {level: places[(levels == level) & ~opening] for level in range(1, MAX_LEVEL + 1)}

    def value(self, first: int, last: int, level: int) -> Steps:
        """Return the value between two positions; its lists at a level are cut."""
        if last - first <= PIECE or level > MAX_LEVEL or not OBJECT.match(self._body, first, last):
            return (yield from self._small(self._body[first:last]))
        opens = _between(self._lists[level], first, last)
        closes = self._ends[level - 1]
        closes = closes[np.searchsorted(closes, opens).clip(max=len(closes) - 1)] if len(closes) else opens[:0]
        if not 0 < len(opens) <= MAX_LISTS or len(closes) < len(opens) or (closes <= opens).any():
            return (yield from self._small(self._body[first:last]))
        parts, lists, at = [], [], first
        for number, (begin, end) in enumerate(zip(opens.tolist(), closes.tolist(), strict=True)):
            lists.append((yield from self._list(begin + 1, end, level)))
            parts.append(b"%s%d" % (self._body[at : begin + 1], number))
            at = end
        value = yield from self._small(b"".join([*parts, self._body[at:last]]))
        if isinstance(value, dict):
            for name, placeholder in value.items():
                if isinstance(placeholder, list):
                    value[name] = lists[placeholder[0]]
        return value

    def _small(self, text: bytes) -> Steps:
        yield
        return _read(text)

    def _list(self, first: int, last: int, level: int) -> Steps:
        """Return the elements between two positions."""
        ends = _between(self._ends[level], first, last)
        elements: list[Any] = []
        at = first
        while len(ends):
            comma = COMMA.match(self._body, at, last)
            if elements and not comma:
                break
            at = comma.end() if elements and comma else at
            fit = max(int(np.searchsorted(ends, at + PIECE - 1, "right")), 1)
            end = int(ends[fit - 1])
            if end + 1 - at > PIECE and OBJECT.match(self._body, at, end):
                elements.append((yield from self.value(at, end + 1, level + 2)))
            else:
                elements += yield from self._small(b"[%s]" % self._body[at : end + 1])
            at, ends = end + 1, ends[fit:]
        if self._body[at:last].strip(b" \t\r\n"):
            # Elements that are neither objects nor lists, or invalid JSON: orjson parses all, or raises.
            return (yield from self._small(b"[%s]" % self._body[first:last]))
        return elements


def _between(places: Any, first: int, last: int) -> Any:
    return places[np.searchsorted(places, first) : np.searchsorted(places, last)]


def _read(text: bytes) -> Any:
    with collection_paused():
        return orjson.loads(text)
