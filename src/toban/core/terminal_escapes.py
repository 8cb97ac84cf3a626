"""Escapes control characters in text from outside, so that it can't control the terminal."""

import re
from typing import Final

CONTROL_CHARACTERS: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters, but tab and line feed
    "\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"  # what reverses or hides text
    "\ufffe\uffff"  # no characters: XML can't have them
    "\ud800-\udfff\U000e0000-\U000e0fff]"  # invisible: surrogates, tags
)


def escape_controls(text: str) -> str:
    r"""
    Return a text with control and invisible characters written like ``\u001b``.

    JSON stays equivalent. Line breaks and tabs stay.
    """
    return CONTROL_CHARACTERS.sub(_escape, text)


def escape_line(text: str) -> str:
    r"""Return a text like `escape_controls`, with line breaks and tabs written as ``\n`` and ``\t``."""
    return escape_controls(text.replace("\n", "\\n").replace("\t", "\\t"))


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code > 0xFFFF:  # JSON writes it as a surrogate pair
        code -= 0x10000
        return f"\\u{0xD800 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
    return f"\\u{code:04x}"
