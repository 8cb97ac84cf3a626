"""Converts OTLP log records to log lines, and finds declined payments in them."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from toban.core.log_levels import LEVELS
from toban.core.log_line import LogLevel, LogLine
from toban.core.ports import Clock
from toban.core.redaction import redact_text
from toban.core.samples import moment
from toban.ingest.label_values import first_text
from toban.ingest.otlp_model import (
    ACCEPTED,
    MALFORMED,
    LogRecord,
    MalformedError,
    Outcome,
    Reporter,
    ReporterRole,
    ScopeGroup,
    Value,
)
from toban.ingest.span_metrics import BATCH, SpanMetrics

DECLINED: Final = re.compile(r"Payment for order (\S{1,50}) failed\b[:.]?\s*(.{0,300})")
"""The log line of Vendure's Stripe plugin: such a decline leaves no row in the shop's tables."""

LINE_ATTRIBUTES: Final = frozenset({"context", "service_name", "exception.stacktrace"})
"""Attributes that become fields of the line; the others are its facts."""

BATCH_CHARACTERS: Final = 20_000
"""Characters of lines that are read without a pause for other tasks."""


@dataclass(frozen=True, slots=True)
class DeclinedPayment:
    """A payment that failed, according to a log line."""

    order: str
    method: str
    error: str
    at: datetime


@dataclass(frozen=True, slots=True)
class ReceivedLines:
    """What the records of a body say: lines, and the payments that failed according to them."""

    lines: list[LogLine] = field(default_factory=list)
    declined: list[DeclinedPayment] = field(default_factory=list)


class LogRecordReader:
    """Reads log records as lines."""

    def __init__(self, span_metrics: SpanMetrics, clock: Clock) -> None:
        self._span_metrics = span_metrics
        self._clock = clock

    def records(self, groups: Iterable[ScopeGroup[LogRecord]], received: ReceivedLines) -> Iterator[Outcome]:
        """Append what records say to ``received``, some at a time, and yield their outcome."""
        for group in groups:
            reporter = self._span_metrics.reporter_of(group.resource)
            self._span_metrics.record_alive(reporter)
            count, size, malformed = 0, 0, 0
            for raw in group.items:
                try:
                    record = group.read(raw)
                except MalformedError:
                    malformed += 1
                    continue
                line = self._line(reporter, record)
                if reporter.role in {ReporterRole.SERVER, ReporterRole.WORKER} and (payment := declined_payment(line)):
                    received.declined.append(payment)
                received.lines.append(line)
                count += 1
                size += min(len(line.message), BATCH_CHARACTERS) + min(len(line.trace), BATCH_CHARACTERS)
                if count == BATCH or size > BATCH_CHARACTERS:
                    yield Outcome({ACCEPTED: count, MALFORMED: malformed})
                    count, size, malformed = 0, 0, 0
            yield Outcome({ACCEPTED: count, MALFORMED: malformed})

    def _line(self, reporter: Reporter, record: LogRecord) -> LogLine:
        facts: dict[str, Value] = {
            name: value for name, value in record.attributes.items() if name not in LINE_ATTRIBUTES
        }
        if not record.severity and record.severity_text:
            facts["severityText"] = record.severity_text
        return LogLine(
            at=moment(record.at // 1_000_000) if record.at else self._clock.now(),
            level=log_level(record.severity, record.severity_text),
            message=record.body,
            context=first_text(record.attributes, "context"),
            service=reporter.service,
            environment=reporter.environment,
            instance=reporter.instance,
            trace=first_text(record.attributes, "exception.stacktrace"),
            trace_id=record.trace.hex(),
            facts=facts,
        )


def log_level(severity: int, severity_text: str = "") -> LogLevel:
    """Return the level of OpenTelemetry's severity number, or without one, of the severity text."""
    if severity == 0:
        return LEVELS.get(severity_text.strip().lower().rstrip("1234"), LogLevel.INFO)
    if severity >= 17:
        return LogLevel.ERROR
    if severity >= 13:
        return LogLevel.WARN
    return LogLevel.INFO if severity >= 9 else LogLevel.DEBUG


def declined_payment(line: LogLine) -> DeclinedPayment | None:
    """Return the declined payment in a line, if there is one."""
    if line.level is LogLevel.WARN and (match := DECLINED.match(line.message)):
        return DeclinedPayment(match[1], "stripe", redact_text(match[2]), line.at)
    return None
