"""Requests and responses about log lines."""

from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from toban.core.log_line import LogLevel
from toban.web.api.api_endpoint import RequestModel, ResponseModel


class LogSelection(RequestModel):
    """Which log lines a request is about."""

    query: str = ""
    """Words that a line contains, like `payment failed service:worker`, or a query in LogQL."""
    since: str = ""
    """The start: a time, or how long ago, like `1h`; by default the oldest line."""
    until: str = ""
    """The end (exclusive): a time, or how long ago; by default the newest line."""
    level: LogLevel = LogLevel.DEBUG
    """This level and worse ones."""
    context: str = ""
    """Vendure's logger context."""
    service: str = ""
    text: str = ""
    """What a line contains, in upper or lower case."""


class LogHistogramRequest(LogSelection):
    """Which log lines are counted."""

    bars: Annotated[int, Field(ge=1, le=500)] = 60
    """How many steps of time at most."""


class LogHistogramBar(ResponseModel):
    """How many lines a step of time has, by level."""

    at: datetime
    """The begin of the step."""
    lines: dict[LogLevel, int]


class LogHistogramResponse(ResponseModel):
    """How many lines there are over time."""

    step: float
    """Seconds of a step."""
    bars: list[LogHistogramBar]
    """The steps that have lines."""
    warnings: list[str] = Field(default_factory=list)
    """What could not be counted, and why."""


class LogsRequest(LogSelection):
    """Which log lines are returned."""

    limit: Annotated[int, Field(ge=1, le=5_000)] = 100
    cursor: str = ""
    """Where a search goes on: the `cursor` of the response before."""
    around: str = ""
    """The `position` of a line: return it, and up to `limit` lines before and after it."""


class LogLineModel(ResponseModel):
    """A log line, redacted."""

    timestamp: datetime
    level: LogLevel
    message: str = ""
    context: str = ""
    service: str = ""
    environment: str = ""
    instance: str = ""
    category: str = ""
    trace: str = ""
    trace_id: str = ""
    facts: dict[str, Any] = Field(default_factory=dict)
    position: str = ""
    """Its place in the order of lines, for `around`."""


class MissingLinesModel(ResponseModel):
    """A range of time whose lines could not be searched."""

    start: datetime
    end: datetime
    reason: str


class LogsResponse(ResponseModel):
    """Log lines, newest first."""

    lines: list[LogLineModel]
    cursor: str = ""
    """Where the search goes on; empty when it is complete. A slow search responds with what it has found so far."""
    reached: datetime | None = None
    """Up to which time all lines are found, while the search is not complete."""
    missing: list[MissingLinesModel] = Field(default_factory=list)
    """Ranges that the outside engine (`logs.outside`) could not search, and why: their lines are not among these."""
    outside_before: datetime | None = None
    """Lines before this time were searched in the outside engine: words in message and stack trace, not in facts."""


class LogsPushResponse(ResponseModel):
    """How many log lines were stored."""

    accepted: int
