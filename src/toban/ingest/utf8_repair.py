"""
Text that is none: half a surrogate pair, or bytes that are no UTF-8, become U+FFFD.

JavaScript cuts a text between any two code units, also within an emoji; readers of JSON and protobuf refuse the whole
body for that. It is repaired only then, in time that grows as the body does.
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
_TURN: Final = 1_000
"""Escapes that are looked at before others may have a turn."""

Repair = Generator[None, None, tuple[bytes, int]]
"""What yields where others may have a turn, and returns the repaired text and how many characters were replaced."""


def repaired_utf8(text: bytes) -> tuple[bytes, int]:
    """Return UTF-8 with U+FFFD in place of what is none, and how many were put there."""
    found = text.decode("utf-8", "replace")
    many = found.count(REPLACEMENT) - text.count(REPLACEMENT.encode())
    return (found.encode(), many) if many else (text, 0)


def repaired_json(body: bytes) -> Repair:
    """Return a body of JSON without bad UTF-8, and without escapes of half a surrogate pair."""
    body, many = repaired_utf8(body)
    parts, done, at, looked = list[bytes](), 0, 0, 0
    while found := _SURROGATE.search(body, at):
        looked += 1
        if looked % _TURN == 0:
            yield
        first, at = found.start(), found.end()
        if _is_escaped(body, first):
            at = first + _ESCAPE
        elif not found[1]:
            parts += body[done:first], ESCAPED
            done, many = at, many + 1
    return b"".join([*parts, body[done:]]), many


def repair_at_once(repair: Repair) -> tuple[bytes, int]:
    """Repair without giving others a turn."""
    while True:
        try:
            next(repair)
        except StopIteration as end:
            found: tuple[bytes, int] = end.value
            return found


def _is_escaped(body: bytes, place: int) -> bool:
    """Tell whether the backslash at a place is escaped itself: an odd number of others stands before it."""
    size = 64
    while True:
        before = body[max(0, place - size) : place]
        slashes = len(before) - len(before.rstrip(b"\\"))
        if slashes < len(before) or size >= place:
            return slashes % 2 == 1
        size *= 8
