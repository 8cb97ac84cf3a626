"""Query parameters, parsed as Loki parses them."""

import re
from datetime import datetime, timedelta
from typing import Final

from toban.core.config_types import parse_duration
from toban.core.errors import BadQueryError
from toban.core.samples import milliseconds
from toban.logs.line_store import Direction
from toban.web.query_parameters import LAST, QueryParameters

MILLISECOND: Final = 1_000_000
SECOND: Final = 1_000_000_000
"""Nanoseconds."""

DEFAULT_SINCE: Final = timedelta(hours=1)
DEFAULT_LIMIT: Final = 100

_SECONDS: Final = re.compile(r"[-+]?[0-9]{1,20}\.[0-9]{0,20}(?:[eE][-+]?[0-9]{1,2})?")
_INTEGER: Final = re.compile(r"-?[0-9]{1,19}")
_FRACTION: Final = re.compile(r"(\.[0-9]{1,9})[0-9]*")


class LokiParameters:
    """The parameters of one request. All methods raise ``BadQueryError``."""

    def __init__(self, parameters: QueryParameters, now: datetime) -> None:
        self._parameters = parameters
        self._now = milliseconds(now) * MILLISECOND

    def text(self, name: str) -> str:
        """Return the first value of a name, empty when it is missing."""
        return self._parameters.text(name)

    def texts(self, *names: str) -> list[str]:
        """Return all values of some names."""
        return [text for name in names for text in self._parameters.texts(name)]

    def nanoseconds(self, name: str, otherwise: int | None = None) -> int:
        """Return a time in nanoseconds; by default now, or another time."""
        text = self.text(name)
        if not text:
            return self._now if otherwise is None else otherwise
        at = _nanoseconds(text)
        if at is None or abs(at) > LAST * 1_000:
            raise BadQueryError(f'could not parse "{name}" parameter: invalid time "{text[:100]}"')
        return at

    def range(self) -> tuple[int, int]:
        """Return the start and the end, in nanoseconds; the start is by default ``since`` before the end."""
        since = self.duration("since") or DEFAULT_SINCE
        end = self.nanoseconds("end")
        start = self.nanoseconds("start", end - since // timedelta(microseconds=1) * 1_000)
        if end < start:
            raise BadQueryError("end timestamp must not be before or equal to start time")
        return start, end

    def milliseconds(self) -> tuple[int, int]:
        """Return the start (inclusive) and the end (exclusive), in milliseconds."""
        start, end = self.range()
        return start // MILLISECOND, -(-end // MILLISECOND)

    def step(self, start: int, end: int) -> int:
        """Return the step in milliseconds; by default a 250th of the range (nanoseconds), a second at least."""
        step = self.duration("step")
        if step is None:
            return max((end - start) // (250 * SECOND), 1) * 1000
        if step < timedelta(milliseconds=1):
            raise BadQueryError(
                "zero or negative query resolution step widths are not accepted. Try a positive integer"
            )
        return step // timedelta(milliseconds=1)

    def duration(self, name: str) -> timedelta | None:
        """Return a duration: seconds, or as in Prometheus."""
        text = self.text(name)
        if not text:
            return None
        try:
            if re.fullmatch(r"[-+]?[0-9]{0,15}\.?[0-9]{0,15}", text):
                return timedelta(seconds=float(text))
            return parse_duration(text)
        except (ValueError, OverflowError):
            raise BadQueryError(f'cannot parse "{text[:100]}" to a valid duration') from None

    def limit(self, otherwise: int = DEFAULT_LIMIT) -> int:
        """Return how many lines at most."""
        text = self.text("limit")
        if not text:
            return otherwise
        if not text.isdecimal() or len(text) > 18 or int(text) == 0:
            raise BadQueryError("limit must be a positive value")
        return int(text)

    def direction(self) -> Direction:
        """Return the order of lines."""
        text = self.text("direction").lower() or Direction.BACKWARD.value
        try:
            return Direction(text)
        except ValueError:
            raise BadQueryError(f"invalid direction '{text[:100]}'") from None


def _nanoseconds(text: str) -> int | None:
    """Return a time in nanoseconds: from seconds with a fraction, whole seconds, nanoseconds, or RFC 3339."""
    if _SECONDS.fullmatch(text):
        return round(float(text) * 1_000_000) * 1_000
    if _INTEGER.fullmatch(text):
        return int(text) * SECOND if len(text) <= 10 else int(text)
    try:
        at = datetime.fromisoformat(_FRACTION.sub(lambda found: found[1][:7], text))
    except ValueError:
        return None
    if not at.tzinfo:
        return None
    fraction = _FRACTION.search(text)
    whole = round(at.replace(microsecond=0).timestamp()) * SECOND
    return whole + (round(float(fraction[1]) * SECOND) if fraction else 0)
