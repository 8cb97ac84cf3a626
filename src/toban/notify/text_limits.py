"""Text from outside, made fit for a place that has room for so much."""

import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import Final
from urllib.parse import urlsplit

ELLIPSIS: Final = "…"

_LONGEST: Final = 2000
"""How long an address may be that people are sent to."""

_SPACES: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Kinds of characters that end lines, steer terminals, or can't be written (half of a pair)."""

_NOTHING: Final = "Cf"
"""Characters that nobody sees, among them those that turn the direction of reading round."""


def one_line(text: str) -> str:
    """Return a text on one line, without characters that nobody reads: what stands in a header or a title."""
    kinds = ((unicodedata.category(each), each) for each in text)
    return " ".join("".join(" " if kind in _SPACES else each for kind, each in kinds if kind != _NOTHING).split())


def truncate(text: str, most: int, escaped: Callable[[str], str] = str) -> str:
    """
    Return a text of no more than `most` characters, as ``escaped`` writes it.

    What is cut off shows as an ellipsis, and never in the middle of what one character was escaped to.
    """
    whole = escaped(text)
    if len(whole) <= most:
        return whole
    room, kept = most - len(ELLIPSIS), []
    for character in text:
        piece = escaped(character)
        room -= len(piece)
        if room < 0:
            break
        kept.append(piece)
    return "".join(kept).rstrip() + ELLIPSIS if most > 0 else ""


def is_web(address: str) -> bool:
    """Tell whether people can be sent there: a web address, not a script and nothing that breaks out of a link."""
    try:
        parts = urlsplit(address)
        found = parts.hostname
    except ValueError:
        return False
    fit = re.fullmatch(r"[!-~]+", address) and not re.search(r"[<>\"'`|\\^{}]", address)
    return bool(parts.scheme in {"http", "https"} and found and fit and len(address) <= _LONGEST)


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """
    Return a text in which no secret is left, for messages about what came back.

    One of less than four characters stays: it is part of every other word, and gaps in those would tell what it is.
    """
    for secret in sorted({it for it in secrets if len(it) >= 4}, key=len, reverse=True):
        text = text.replace(secret, "[redacted]")
    return text


def safe_text(text: str, secrets: Iterable[str], most: int = 300) -> str:
    """Return what a receiver said, on one line, without secrets and not too long."""
    return truncate(without_secrets(one_line(text), secrets), most)
