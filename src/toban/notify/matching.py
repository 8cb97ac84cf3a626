"""Conditions on the labels of alerts, written as Alertmanager writes them."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Final

from pydantic import AfterValidator

from toban.core.errors import BadQueryError
from toban.core.labels import quote
from toban.core.matching import Matcher
from toban.promql.syntax import ParseError, selector

_ANY: Final = '__name__="any"'


def matcher(text: str) -> Matcher:
    """Read one condition: ``severity="critical"``, ``job=~"web.*"``. Raises ``ValueError``."""
    try:
        # A selector must name something that is not empty; the condition alone may accept nothing.
        found = [it for it in selector(f"{{{_ANY}, {text}}}") if it.name != "__name__"]
    except (ParseError, BadQueryError) as error:
        raise ValueError(f'{text!r} is no condition ({error}): write it like severity="critical"') from error
    if len(found) != 1:
        raise ValueError(f'{text!r} is not one condition: write it like severity="critical"')
    return found[0]


def matchers(texts: Iterable[str]) -> Sequence[Matcher]:
    """Read several conditions, all of which must be met."""
    return tuple(matcher(text) for text in texts)


def written(condition: Matcher) -> str:
    """Write a condition as `matcher` reads it."""
    return f"{condition.name}{condition.match}{quote(condition.value)}"


def _checked(text: str) -> str:
    matcher(text)
    return text


Condition = Annotated[str, AfterValidator(_checked)]
"""One condition on a label, as text."""
