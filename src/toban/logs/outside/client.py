"""What a client of an engine of log lines does: its own language stays behind it."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from datetime import timedelta

from toban.core.errors import BadQueryError, StoreError
from toban.core.log_line import LogStream
from toban.core.matchers import Matcher, MatchOperator
from toban.core.query_result import QueryResult, ResultType
from toban.logs.line_store import Direction, StreamCount
from toban.logs.logql.query_limits import LogqlLimits
from toban.logs.logql.syntax_tree import LogQuery, MetricQuery
from toban.logs.logql.windows import Times
from toban.logs.outside.line_mapping import OutsideLine
from toban.logs.outside.request import OutsideRequests
from toban.logs.outside.selection import OutsideSelection
from toban.logs.outside.settings import OutsideLogSettings


class OutsideClient(ABC):
    """
    Queries one engine.

    Times are nanoseconds where lines are read, milliseconds where they are counted; starts are inclusive, ends
    exclusive. All methods raise ``QueryError``, ``ResponseTooLargeError`` or ``StoreError``.
    """

    def __init__(self, settings: OutsideLogSettings, requests: OutsideRequests, limits: LogqlLimits) -> None:
        self.settings = settings
        self.labels = tuple(Matcher(name, MatchOperator.EQUAL, value) for name, value in settings.labels.items())
        self.limits = limits
        self._requests = requests

    @property
    def shown(self) -> str:
        """The engine's name in messages."""
        return self._requests.shown

    @abstractmethod
    async def lines(
        self, selection: OutsideSelection, start: int, end: int, limit: int, direction: Direction
    ) -> Sequence[OutsideLine]:
        """Return the first lines of a direction, in any order."""

    @abstractmethod
    async def streams(self, matchers: tuple[Matcher, ...], start: int, end: int) -> Sequence[LogStream]:
        """Return the streams that have lines in a range of time."""

    @abstractmethod
    async def counts(self, query: LogQuery, start: int, end: int, step: int) -> Sequence[StreamCount]:
        """Count lines and bytes of text by stream and step of time."""

    @abstractmethod
    async def evaluate(
        self, root: MetricQuery, times: Times, shape: ResultType, time_limit: timedelta | None
    ) -> QueryResult:
        """Evaluate a query for series at some times that are equally far apart."""

    @abstractmethod
    async def try_connection(self) -> None:
        """Make a request that reads next to nothing."""

    def invalid(self, body: bytes) -> StoreError:
        """Return the error of a response that is none of such an engine."""
        beginning = " ".join(body[:200].decode(errors="replace").split())
        return StoreError(f"{self.shown}: the response is not that of such an engine: {beginning}")


def check_count(steps: int, most: int, shown: str) -> None:
    """Raise ``BadQueryError`` when a query has more steps of time than one response may have."""
    if steps > most:
        raise BadQueryError(f"{shown}: the query has {steps:,} steps of time, more than {most:,}: use a larger step")
