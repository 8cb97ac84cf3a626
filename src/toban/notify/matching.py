"""Conditions on the labels of alerts, written as Alertmanager writes them."""

import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Final

from pydantic import AfterValidator

from toban.core.errors import BadQueryError
from toban.core.matching import Match, Matcher

_CONDITION: Final = re.compile(
    r"\s*(?P<name>[a-zA-Z_][a-zA-Z0-9_]*)\s*(?P<match>=~|!~|!=|=)\s*"
    r'(?:"(?P<quoted>(?:\\.|[^"\\])*)"|(?P<plain>[^"\s{},][^"{},]*?|))\s*',
    re.DOTALL,
)
_ESCAPES: Final = {"n": "\n", '"': '"', "\\": "\\"}


def matcher(text: str) -> Matcher:
    """
    Read one condition: ``severity="critical"``, ``job=~"web.*"``; simple values need no quotes.

    Raises ``ValueError``.
    """
    found = _CONDITION.fullmatch(text)
    if not found:
        raise ValueError(f'{text!r} is no condition: write it like severity="critical"')
    value = found["plain"] if found["quoted"] is None else re.sub(r"\\(.)", _unescaped, found["quoted"])
    try:
        return Matcher(found["name"], Match(found["match"]), value)
    except BadQueryError as error:
        raise ValueError(f"{text!r} is no condition: {error}") from error


def _unescaped(found: re.Match[str]) -> str:
    # Any other escape belongs to a regular expression.
    return _ESCAPES.get(found[1], found[0])


def matchers(texts: Iterable[str]) -> Sequence[Matcher]:
    """Read several conditions, all of which must be met."""
    return tuple(matcher(text) for text in texts)


def _checked(text: str) -> str:
    matcher(text)
    return text


Condition = Annotated[str, AfterValidator(_checked)]
"""One condition on a label, as text."""
