"""
Large JSON, read piece by piece, so that others have a turn in between.

orjson reads 4 MiB in one go, 40 ms and more. Here the brackets of a body are found first, then its long lists are cut
between their elements, and each piece is read by orjson. What comes of it is what orjson makes of the whole.
"""

import gc
import re
from collections.abc import Generator
from typing import Any, Final

import numpy as np
import orjson

PIECE: Final = 2**19
"""Bytes that are looked at without a pause: orjson reads them in some 5 ms."""

DEEPEST: Final = 6
"""Lists that stand this deep or higher are cut: `resourceSpans` stands at 2, `scopeSpans` at 4, `spans` at 6."""

MOST: Final = 1_000
"""An object with more lists than these is read as a whole."""

QUOTE, BACKSLASH, OPENS_LIST = b'"\\['
LEVEL: Final = np.zeros(256, np.int8)
"""By its character, how many levels a bracket leads down or up."""
LEVEL[list(b"[{")], LEVEL[list(b"]}")] = 1, -1

OBJECT: Final = re.compile(rb"[ \t\r\n]*{")
COMMA: Final = re.compile(rb"[ \t\r\n]*,[ \t\r\n]*")

Steps = Generator[None, None, Any]
"""What yields where others may have a turn, and returns what was read. Raises ``ValueError``."""


def read_json(body: bytes) -> Steps:
    """Return what `body` holds, as `orjson.loads` does."""
    if len(body) <= PIECE:
        return _read(body)
    return (yield from _Cut(body, *(yield from _brackets(body))).value(0, len(body), 2))


def _brackets(body: bytes) -> Steps:
    """Return where the brackets are that begin or end something no deeper than lists are cut, and the level after."""
    text, places, levels = np.frombuffer(body, np.uint8), [], []
    level, inside, escaped = 0, 0, False
    for start in range(0, len(body), PIECE):
        part = text[start : start + PIECE]
        quotes = np.flatnonzero(part == QUOTE)
        slashes = np.flatnonzero(part == BACKSLASH)
        if escaped or len(slashes):
            quotes, escaped = _unescaped(quotes, slashes, len(part), escaped)
        brackets = np.flatnonzero(LEVEL[part])
        brackets = brackets[(np.searchsorted(quotes, brackets) + inside) % 2 == 0]
        after = level + np.cumsum(LEVEL[part[brackets]], dtype=np.int64)
        shown = after <= DEEPEST
        places.append(brackets[shown] + start)
        levels.append(after[shown])
        level = int(after[-1]) if len(after) else level
        inside = (inside + len(quotes)) % 2
        yield
    return np.concatenate(places), np.concatenate(levels)


def _unescaped(quotes: Any, slashes: Any, size: int, first: bool) -> tuple[Any, bool]:
    """
    Return the quotes before which no odd number of backslashes stands, and whether the next part begins escaped.

    ``first`` says that of this part.
    """
    # A backslash that is escaped itself escapes nothing: in a run every other one counts.
    starts = slashes[np.diff(slashes, prepend=-2) > 1]
    run = starts[np.searchsorted(starts, slashes, "right") - 1] if len(slashes) else slashes
    offset = np.where((run == 0) & first, 1, 0)
    escaping = slashes[(slashes - run + offset) % 2 == 0]
    escapes = np.concatenate(([0] if first else [], escaping + 1)).astype(np.int64)
    return quotes[~np.isin(quotes, escapes, assume_unique=True)], bool(len(escapes) and escapes[-1] == size)


class _Cut:
    """A body, and where it can be cut."""

    def __init__(self, body: bytes, places: Any, levels: Any) -> None:
        self._body = body
        text = np.frombuffer(body, np.uint8)[places]
        opening = LEVEL[text] > 0
        self._lists = {level: places[(levels == level) & (text == OPENS_LIST)] for level in range(2, DEEPEST + 1, 2)}
        self._ends = {level: places[(levels == level) & ~opening] for level in range(1, DEEPEST + 1)}

    def value(self, first: int, last: int, level: int) -> Steps:
        """Return the value between two places; its lists at a level are cut."""
        if last - first <= PIECE or level > DEEPEST or not OBJECT.match(self._body, first, last):
            return (yield from self._small(self._body[first:last]))
        opens = _between(self._lists[level], first, last)
        closes = self._ends[level - 1]
        closes = closes[np.searchsorted(closes, opens).clip(max=len(closes) - 1)] if len(closes) else opens[:0]
        if not 0 < len(opens) <= MOST or len(closes) < len(opens) or (closes <= opens).any():
            return (yield from self._small(self._body[first:last]))
        parts, lists, at = [], [], first
        for number, (begin, end) in enumerate(zip(opens.tolist(), closes.tolist(), strict=True)):
            lists.append((yield from self._list(begin + 1, end, level)))
            parts.append(b"%s%d" % (self._body[at : begin + 1], number))
            at = end
        found = yield from self._small(b"".join([*parts, self._body[at:last]]))
        if isinstance(found, dict):
            for name, value in found.items():
                if isinstance(value, list):
                    found[name] = lists[value[0]]
        return found

    def _small(self, text: bytes) -> Steps:
        yield
        return _read(text)

    def _list(self, first: int, last: int, level: int) -> Steps:
        """Return the elements between two places."""
        ends = _between(self._ends[level], first, last)
        found: list[Any] = []
        at = first
        while len(ends):
            comma = COMMA.match(self._body, at, last)
            if found and not comma:
                break
            at = comma.end() if found and comma else at
            fit = max(int(np.searchsorted(ends, at + PIECE - 1, "right")), 1)
            end = int(ends[fit - 1])
            if end + 1 - at > PIECE and OBJECT.match(self._body, at, end):
                found.append((yield from self.value(at, end + 1, level + 2)))
            else:
                found += yield from self._small(b"[%s]" % self._body[at : end + 1])
            at, ends = end + 1, ends[fit:]
        if self._body[at:last].strip(b" \t\r\n"):
            # Elements that are neither objects nor lists, or what is no JSON: orjson knows.
            return (yield from self._small(b"[%s]" % self._body[first:last]))
        return found


def _between(places: Any, first: int, last: int) -> Any:
    return places[np.searchsorted(places, first) : np.searchsorted(places, last)]


def _read(text: bytes) -> Any:
    """
    Read JSON without the collector of garbage.

    It would look for cycles among thousands of new objects again and again; there are none. Afterwards they are new to
    it like any others: taken from it for good (``gc.freeze``), its counts begin anew each time, and what is garbage
    elsewhere stays.
    """
    if not gc.isenabled():
        return orjson.loads(text)
    gc.disable()
    try:
        return orjson.loads(text)
    finally:
        gc.enable()
