"""Finds the end of a value in a text: of JSON, of JSON in JSON, or as Node.js prints it."""

import re
from typing import Final

_OPENING: Final = re.compile(r"(\\*+)([\"']?)")
_DELIMITER: Final = re.compile(r"(\\*+)([\"'])|[\[\]{}]")


def value_end(text: str, start: int) -> int:
    """
    Return where the value that begins at a place ends; the end of the text where it is not closed.

    A quote belongs to a string of the same depth of JSON, if as many backslashes are before it as before the first.
    """
    opening = _OPENING.match(text, start)
    quote = opening[0] if opening and opening[2] else ""
    depth, escapes, inside = 0, len(opening[1]) if quote and opening else -1, quote[-1:]
    for found in _DELIMITER.finditer(text, start + len(quote)):
        if found[2]:
            if escapes < 0:
                escapes = len(found[1])
            if len(found[1]) != escapes or inside not in {"", found[2]}:
                continue
            inside = "" if inside else found[2]
        elif not inside:
            depth += 1 if found[0] in "[{" else -1
        if depth <= 0 and not inside:
            return found.end()
    return len(text)
