"""
Repairs invalid text: lone surrogates and invalid UTF-8 become U+FFFD.

JavaScript cuts texts between any two code units, even within an emoji; parsers of JSON and protobuf reject the whole
body for that. Only then is it repaired, in linear time.
"""

import re
from collections.abc import Generator
from typing import Final

REPLACEMENT: Final = "\ufffd"
ESCAPED: Final = rb"\ufffd"

_SURROGATE: Final = re.compile(
    rb"\\u[dD](?:[89abAB][0-9a-fA-F]{2}(\\u[dD][c-fC-F][0-9a-fA-F]{2})?|[c-fC-F][0-9a-fA-F]{2})"
)
_ESCAPE: Final = len(rb"\ud83d")
_BATCH: Final = 1_000
"""Escapes that are checked without a pause for other tasks."""

Repair = Generator[None, None, tuple[bytes, int]]
"""Yields where other tasks may run, and returns the repaired text and how many characters were replaced."""


def repaired_utf8(text: bytes) -> tuple[bytes, int]:
    """Return a text with U+FFFD for invalid UTF-8, and how many characters were replaced."""
    decoded = text.decode("utf-8", "replace")
    repaired = decoded.count(REPLACEMENT) - text.count(REPLACEMENT.encode())
    return (decoded.encode(), repaired) if repaired else (text, 0)


def repaired_json(body: bytes) -> Repair:
    """Return a JSON body without invalid UTF-8 and without escapes of lone surrogates."""
    body, repaired = repaired_utf8(body)
    parts, done, at, checked = list[bytes](), 0, 0, 0
    while match := _SURROGATE.search(body, at):
        checked += 1
        if checked % _BATCH == 0:
            yield
        first, at = match.start(), match.end()
        if _is_escaped(body, first):
            at = first + _ESCAPE
        elif not match[1]:
            parts += body[done:first], ESCAPED
            done, repaired = at, repaired + 1
    return b"".join([*parts, body[done:]]), repaired


def repair_at_once(repair: Repair) -> tuple[bytes, int]:
    """Repair without pauses for other tasks."""
    while True:
        try:
            next(repair)
        except StopIteration as end:
            result: tuple[bytes, int] = end.value
            return result


def _is_escaped(body: bytes, place: int) -> bool:
    """Return whether the backslash at a position is escaped: an odd number of others is before it."""
    size = 64
    while True:
        before = body[max(0, place - size) : place]
        slashes = len(before) - len(before.rstrip(b"\\"))
        if slashes < len(before) or size >= place:
            return slashes % 2 == 1
        size *= 8
