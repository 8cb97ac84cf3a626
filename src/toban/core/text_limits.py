"""Text from outside: on one line, limited in length, without secrets."""

import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import Final
from urllib.parse import urlsplit

from toban.core.redaction import REDACTED

ELLIPSIS: Final = "…"

_URL_LENGTH: Final = 2000
"""How many characters the address of a link may have."""

_SPACES: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
"""Categories of characters that end lines, control terminals, or can't be encoded (surrogates)."""

_INVISIBLE: Final = "Cf"
"""The category of characters without a glyph, among them those that change the direction of text."""


def one_line(text: str) -> str:
    """Return a text on one line without invisible characters, for a header or a title."""
    if text.isprintable():
        # Holds none of them; nearly every text, and twenty times as fast.
        return " ".join(text.split())
    kinds = ((unicodedata.category(each), each) for each in text)
    return " ".join("".join(" " if kind in _SPACES else each for kind, each in kinds if kind != _INVISIBLE).split())


def utf8_bytes(text: str) -> int:
    """Return how many bytes a text has in UTF-8."""
    return len(text.encode("utf-8", "replace"))


def utf16_units(text: str) -> int:
    """Return how many characters a text has where an emoji counts as two."""
    return len(text.encode("utf-16-le", "replace")) // 2


def truncate(text: str, most: int, escaped: Callable[[str], str] = str, size: Callable[[str], int] = len) -> str:
    """
    Return a text of at most `most` characters after ``escaped`` was applied to it; ``size`` counts them otherwise.

    A text that was cut ends with an ellipsis, and is never cut within an escape sequence.
    """
    whole = escaped(text)
    if size(whole) <= most:
        return whole
    room, kept = most - size(ELLIPSIS), []
    for character in text:
        piece = escaped(character)
        room -= size(piece)
        if room < 0:
            break
        kept.append(piece)
    return "".join(kept).rstrip() + ELLIPSIS if most > 0 else ""


def is_web(address: str) -> bool:
    """Tell whether an address is fit for a link: a web address, no script, and no character that ends a link."""
    try:
        parts = urlsplit(address)
        found = parts.hostname
    except ValueError:
        return False
    fit = re.fullmatch(r"[!-~]+", address) and not re.search(r"[<>\"'`|\\^{}]", address)
    return bool(parts.scheme in {"http", "https"} and found and fit and len(address) <= _URL_LENGTH)


def without_secrets(text: str, secrets: Iterable[str]) -> str:
    """
    Return a text without the secrets that it holds, for messages about responses.

    A secret of less than four characters stays: it is part of other words, and redacting those would reveal it.
    """
    for secret in sorted({it for it in secrets if len(it) >= 4}, key=len, reverse=True):
        text = text.replace(secret, REDACTED)
    return text


def safe_text(text: str, secrets: Iterable[str], most: int = 300) -> str:
    """Return a receiver's response on one line, without secrets and not too long."""
    return truncate(without_secrets(one_line(text), secrets), most)
