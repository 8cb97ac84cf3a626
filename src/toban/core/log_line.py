"""Log lines, in winston's shape."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple

OTLP: Final = "otlp"
"""The source of lines that come as OpenTelemetry log records."""

GRAPHQL_ERROR: Final = "GraphQL Error: "
"""The beginning of the line about a failed GraphQL request; the error's message follows."""


class LogLevel(StrEnum):
    """How much a line matters, in winston's words; the most severe first."""

    ERROR = "error"
    WARN = "warn"
    INFO = "info"
    VERBOSE = "verbose"
    DEBUG = "debug"

    def is_at_least(self, other: "LogLevel") -> bool:
        """Tell whether it is as severe as another level, or more severe."""
        return _SEVERITY[self] <= _SEVERITY[other]


_SEVERITY: Final = {level: place for place, level in enumerate(LogLevel)}


@dataclass(frozen=True, slots=True)
class LogLine:
    """
    One line of a log, of whatever program.

    ``context`` is the part of the program that speaks (Vendure's logger context), ``trace`` a stack trace,
    ``category`` one of business, security and performance or nothing; ``facts`` is what else it says. ``trace_id`` is
    the trace that it belongs to, in hex. ``is_time_exact`` is False where the program wrote no time, or no seconds:
    then ``at`` is some seconds off.
    """

    at: datetime
    level: LogLevel
    message: str
    context: str = ""
    service: str = ""
    environment: str = ""
    instance: str = ""
    category: str = ""
    trace: str = ""
    trace_id: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)
    is_time_exact: bool = field(default=True, compare=False)

    @property
    def stream(self) -> "LogStream":
        """The stream that the line belongs to."""
        return LogStream(self.service, self.environment, self.instance, self.context, self.category, self.level.value)


class LogStream(NamedTuple):
    """The labels of a stream, as Loki names them: what lines have in common. Empty labels are none."""

    service: str = ""
    environment: str = ""
    instance: str = ""
    context: str = ""
    category: str = ""
    level: str = LogLevel.INFO.value
