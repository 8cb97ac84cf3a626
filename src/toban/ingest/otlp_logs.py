"""Log records become log lines; some of them tell of a payment."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from toban.core.log_line import LogLevel, LogLine
from toban.core.ports import Clock, LineSink
from toban.core.redaction import redact_text
from toban.core.samples import moment
from toban.ingest.label_values import first_text
from toban.ingest.otlp_model import (
    ACCEPTED,
    MALFORMED,
    LogRecord,
    MalformedError,
    Outcome,
    ReporterRole,
    ScopeGroup,
    Value,
)
from toban.ingest.span_metrics import SLICE, Reporter, SpanMetrics

DECLINED: Final = re.compile(r"Payment for order (\S{1,50}) failed\b[:.]?\s*(.{0,300})")
"""Vendure's Stripe plugin: such a decline leaves no row in the shop's tables."""

UNTOLD: Final = frozenset({"context", "service_name", "exception.stacktrace"})
"""Attributes that are a part of the line itself."""


LEVELS: Final = {
    **dict.fromkeys(("trace", "finest", "finer", "fine", "debug", "silly"), LogLevel.DEBUG),
    "verbose": LogLevel.VERBOSE,
    **dict.fromkeys(("warn", "warning"), LogLevel.WARN),
    **dict.fromkeys(
        ("error", "err", "severe", "fatal", "critical", "crit", "alert", "emerg", "emergency", "panic"), LogLevel.ERROR
    ),
}
"""What loggers call their levels; anything else (info, notice, log) is of no special weight."""

LONGEST: Final = 20_000
"""Characters of lines that are handed on before others may have a turn: each is looked at for secrets."""


@dataclass(frozen=True, slots=True)
class DeclinedPayment:
    """A payment that failed, by a line of the log."""

    order: str
    method: str
    error: str
    at: datetime


class LogRecordReader:
    """Hands on log records as lines."""

    def __init__(self, deriving: SpanMetrics, lines: LineSink, clock: Clock) -> None:
        self._deriving = deriving
        self._lines = lines
        self._clock = clock

    def records(self, groups: Iterable[ScopeGroup[LogRecord]], declined: list[DeclinedPayment]) -> Iterator[Outcome]:
        """
        Hand on records, a slice at a time.

        Payments that failed are added to ``declined``.
        """
        for group in groups:
            process = self._deriving.reporter_of(group.resource)
            self._deriving.record_alive(process)
            lines: list[LogLine] = []
            size, broken = 0, 0
            for raw in group.items:
                try:
                    record = group.read(raw)
                except MalformedError:
                    broken += 1
                    continue
                line = self._line(process, record)
                if process.role in {ReporterRole.SERVER, ReporterRole.WORKER} and (found := declined_payment(line)):
                    declined.append(found)
                lines.append(line)
                size += min(len(line.message), LONGEST) + min(len(line.trace), LONGEST)
                if len(lines) == SLICE or size > LONGEST:
                    self._lines.write(lines)
                    yield Outcome({ACCEPTED: len(lines), MALFORMED: broken})
                    lines, size, broken = [], 0, 0
            self._lines.write(lines)
            yield Outcome({ACCEPTED: len(lines), MALFORMED: broken})

    def _line(self, process: Reporter, record: LogRecord) -> LogLine:
        facts: dict[str, Value] = {name: value for name, value in record.attributes.items() if name not in UNTOLD}
        if record.trace:
            facts["traceId"] = record.trace.hex()
        if not record.severity and record.severity_text:
            facts["severityText"] = record.severity_text
        return LogLine(
            at=moment(record.at // 1_000_000) if record.at else self._clock.now(),
            level=log_level(record.severity, record.severity_text),
            message=record.body,
            context=first_text(record.attributes, "context"),
            service=process.service,
            environment=process.environment,
            instance=process.instance,
            trace=first_text(record.attributes, "exception.stacktrace"),
            facts=facts,
        )


def log_level(severity: int, severity_text: str = "") -> LogLevel:
    """Return the level of OpenTelemetry's severity number; where there is none, of what the source calls it."""
    if severity == 0:
        return LEVELS.get(severity_text.strip().lower().rstrip("1234"), LogLevel.INFO)
    if severity >= 17:
        return LogLevel.ERROR
    if severity >= 13:
        return LogLevel.WARN
    return LogLevel.INFO if severity >= 9 else LogLevel.DEBUG


def declined_payment(line: LogLine) -> DeclinedPayment | None:
    """Return the payment that a line says has failed, if it is such a line."""
    if line.level is LogLevel.WARN and (found := DECLINED.match(line.message)):
        return DeclinedPayment(found[1], "stripe", redact_text(found[2]), line.at)
    return None
