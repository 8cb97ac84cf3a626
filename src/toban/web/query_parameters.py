"""Query parameters, parsed as Prometheus parses them."""

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request

from toban.core.config_types import parse_duration
from toban.core.errors import BadQueryError
from toban.core.samples import milliseconds

FIRST: Final = -(2**53)
LAST: Final = 2**53
"""The range of accepted times, and the defaults of `start` and `end`."""

DIGITS: Final = 18
"""How many digits a limit may have."""

FIELDS: Final = 10_000
"""How many fields a form may have."""


class QueryParameters:
    """The parameters of one request, of its address and its form. Raises ``BadQueryError`` as Prometheus does."""

    def __init__(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._pairs = pairs

    @classmethod
    async def of(cls, request: Request) -> "QueryParameters":
        """Read the parameters of a request."""
        pairs = list(request.query_params.multi_items())
        if request.method == "POST" and request.headers.get("content-type", "").startswith(
            "application/x-www-form-urlencoded"
        ):
            body = (await request.body()).decode("utf-8", "replace")
            try:
                # Form values come first, as in Go.
                pairs = parse_qsl(body, keep_blank_values=True, max_num_fields=FIELDS) + pairs
            except ValueError:
                raise BadQueryError(f"the form has more than {FIELDS} fields") from None
        return cls(pairs)

    def text(self, name: str) -> str:
        """Return the first value of a name, empty when it is missing."""
        return next((value for key, value in self._pairs if key == name), "")

    def texts(self, name: str) -> list[str]:
        """Return all values of a name."""
        return [value for key, value in self._pairs if key == name]

    def time(self, name: str, otherwise: int | None = None) -> int:
        """Return a time in milliseconds, from seconds or RFC 3339; without ``otherwise`` it is required."""
        text = self.text(name)
        if not text and otherwise is not None:
            return otherwise
        at = _time(text)
        if at is None or not FIRST <= at <= LAST:
            raise BadQueryError(f"invalid parameter {_quoted(name)}: cannot parse {_quoted(text)} to a valid timestamp")
        return at

    def duration(self, name: str) -> timedelta | None:
        """Return a duration: seconds, or as in PromQL."""
        text = self.text(name)
        if not text:
            return None
        try:
            if re.fullmatch(r"[-+]?[0-9.]+([eE][-+]?[0-9]+)?", text):
                return timedelta(seconds=float(text))
            return parse_duration(text)
        except (ValueError, OverflowError):
            raise BadQueryError(
                f"invalid parameter {_quoted(name)}: cannot parse {_quoted(text)} to a valid duration"
            ) from None

    def limit(self) -> int:
        """Return how many results at most, 0 for all."""
        text = self.text("limit")
        if not text:
            return 0
        if not text.isdecimal() or len(text) > DIGITS:
            raise BadQueryError('invalid parameter "limit": limit must be a non-negative number')
        return int(text)


def _time(text: str) -> int | None:
    """Return a time in milliseconds, or nothing for an invalid one."""
    try:
        return round(float(text) * 1000)
    except (ValueError, OverflowError):
        pass  # then it is a date
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    return milliseconds(at) if at.tzinfo else None


def _quoted(text: str) -> str:
    return f'"{text}"'
