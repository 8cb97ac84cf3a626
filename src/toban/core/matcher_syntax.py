"""
Matchers of alerts, as Alertmanager writes them: the one grammar of silences, routes, inhibitions, windows and filters.

Both of its grammars are read: names that need no quotes with values in quotes or without (the classic one), and names
of any script, in quotes or without (UTF-8, https://prometheus.io/docs/alerting/latest/configuration/#matcher).
"""

import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Final

from pydantic import AfterValidator

from toban.core import input_limits
from toban.core.errors import BadQueryError
from toban.core.labels import is_label_name
from toban.core.matchers import Matcher, MatchOperator

MAX_LENGTH: Final = 20_000
"""How many characters a text with matchers may have."""

_MATCHER: Final = re.compile(
    r"""
    \s*+
    (?: "(?P<quoted_name>(?:\\.|[^"\\])*+)" | (?P<name>(?![0-9])[^\s{}!=~,\\"'`]++) )
    \s*+ (?P<match>=~|!~|!=|=)
    (?: \s*+ "(?P<quoted>(?:\\.|[^"\\])*+)" | (?P<plain>[^"{},]*+) )
    \s*+
    """,
    re.DOTALL | re.VERBOSE,
)
_ESCAPES: Final = {"n": "\n", '"': '"', "\\": "\\"}


def parse_matcher(text: str) -> Matcher:
    """
    Read one matcher: ``severity="critical"``, ``job=~"web.*"``, ``"service.name"="shop"``.

    Simple values need no quotes. Raises ``ValueError``.
    """
    found, end = _one(text, 0)
    if end != len(text):
        raise _wrong(text)
    return found


def parse_matchers(texts: Iterable[str]) -> Sequence[Matcher]:
    """Read several matchers, all of which must be met; each text may hold some, with commas between and in braces."""
    return tuple(found for text in texts for found in _several(text))


def make_matcher(name: str, match: MatchOperator, value: str) -> Matcher:
    """Return a matcher from its parts, as an API brings them. Raises ``ValueError``."""
    if not is_label_name(name) or len(name) > input_limits.LABEL_NAME_LENGTH:
        raise ValueError(f'invalid label name "{input_limits.repair_surrogates(name)[:100]}"')
    if len(value) > MAX_LENGTH or value != input_limits.repair_surrogates(value):
        raise ValueError(f"invalid value of {name!r}: it must be valid Unicode, {MAX_LENGTH} characters at most")
    try:
        return Matcher(name, match, value)
    except BadQueryError as error:
        raise ValueError(str(error)) from error


def _several(text: str) -> list[Matcher]:
    inside = text.strip()
    if inside.startswith("{") and inside.endswith("}"):
        inside = inside[1:-1]
    found: list[Matcher] = []
    at = 0
    while at < len(inside) or not found:
        one, at = _one(inside, at)
        found.append(one)
        if at < len(inside):
            if inside[at] != ",":
                raise _wrong(text)
            at += 1
            if not inside[at:].strip():
                break
    return found


def _one(text: str, start: int) -> tuple[Matcher, int]:
    """Read the matcher that begins at a place, and return where it ends."""
    if len(text) > MAX_LENGTH:
        raise ValueError(f"a matcher of {len(text)} characters: at most {MAX_LENGTH} are accepted")
    found = _MATCHER.match(text, start)
    if not found:
        raise _wrong(text)
    name = found["name"] if found["quoted_name"] is None else _unescaped(found["quoted_name"])
    value = found["plain"].strip() if found["quoted"] is None else _unescaped(found["quoted"])
    try:
        return make_matcher(name, MatchOperator(found["match"]), value), found.end()
    except ValueError as error:
        raise ValueError(f"invalid matcher {text!r}: {error}") from error


def _unescaped(text: str) -> str:
    # Any other escape belongs to a regular expression.
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[0]), text, flags=re.DOTALL)


def _wrong(text: str) -> ValueError:
    return ValueError(f'invalid matcher {text!r}: write it like severity="critical" or "service.name"=~"shop.*"')


def _checked(text: str) -> str:
    _several(text)
    return text


MatcherText = Annotated[str, AfterValidator(_checked)]
"""One matcher of a label, or several with commas between, as text."""
