"""
A logger for Python programs of a shop, in winston's shape: `StructuredLogger` of the original design.

Lines go to the console, to `combined.log` and, those of level error, to `error.log` too, without secrets.
"""

import json
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, TextIO

import orjson

from toban.core.log_levels import known_level
from toban.core.log_line import LogLevel, LogLine
from toban.core.redaction import redact, redact_text
from toban.core.winston_json import winston_json

FOLDER: Final = Path("/app/logs")
COMBINED: Final = "combined.log"
ERRORS: Final = "error.log"

PYTHON_LEVELS: Final = (
    (logging.ERROR, LogLevel.ERROR),
    (logging.WARNING, LogLevel.WARN),
    (logging.INFO, LogLevel.INFO),
)

Severity = Literal["low", "medium", "high"]


class StructuredLogger:
    """
    Writes lines with the fields of the original: service, environment, instance, context, category.

    ``LOG_LEVEL``, ``NODE_ENV`` and ``FLY_MACHINE_ID`` of the environment are the defaults. No method raises because a
    line can't be written: that is said on stderr, once for each file.
    """

    def __init__(
        self,
        context: str = "",
        *,
        service: str = "vendure-api",
        environment: str | None = None,
        instance: str | None = None,
        level: str | None = None,
        folder: Path | None = FOLDER,
        console: TextIO | None = None,
    ) -> None:
        """``folder`` holds the files, ``None`` writes none; ``console`` is stdout by default."""
        self.context = context
        self.service = service
        self.environment = os.environ.get("NODE_ENV", "") if environment is None else environment
        self.instance = os.environ.get("FLY_MACHINE_ID", "local") if instance is None else instance
        self._level = known_level(level or os.environ.get("LOG_LEVEL")) or LogLevel.INFO
        self._folder = folder
        self._console = console or sys.stdout
        self._lock = threading.Lock()
        self._broken: set[str] = set()

    def error(self, message: str, trace: str = "", context: str = "", **facts: object) -> None:
        """Log an error, with its stack trace; within ``except`` that of the exception by default."""
        if not trace and sys.exc_info()[0]:
            trace = traceback.format_exc()
        self.write(LogLevel.ERROR, message, trace=trace, context=context, facts=facts)

    def warn(self, message: str, context: str = "", **facts: object) -> None:
        """Log a warning."""
        self.write(LogLevel.WARN, message, context=context, facts=facts)

    def info(self, message: str, context: str = "", **facts: object) -> None:
        """Log what happens."""
        self.write(LogLevel.INFO, message, context=context, facts=facts)

    log = info
    """The name in Vendure's logger."""

    def verbose(self, message: str, context: str = "", **facts: object) -> None:
        """Log a detail."""
        self.write(LogLevel.VERBOSE, message, context=context, facts=facts)

    def debug(self, message: str, context: str = "", **facts: object) -> None:
        """Log what helps to find an error."""
        self.write(LogLevel.DEBUG, message, context=context, facts=facts)

    def log_business_event(self, event: str, data: object, user_id: str | None = None) -> None:
        """Log what happened in the business: an order, a refund."""
        facts = {"event": event, "data": data, **({"userId": user_id} if user_id is not None else {})}
        self.write(LogLevel.INFO, "Business Event", category="business", facts=facts)

    def log_security_event(self, event: str, details: object, severity: Severity = "medium") -> None:
        """Log what matters for security: a failed login, a refused permission."""
        facts = {"event": event, "details": details, "severity": severity}
        self.write(LogLevel.WARN, "Security Event", category="security", facts=facts)

    def log_performance(self, operation: str, duration: float, metadata: Mapping[str, object] | None = None) -> None:
        """Log how long an operation took, in milliseconds."""
        facts = {"operation": operation, "duration": duration, **({"metadata": metadata} if metadata else {})}
        self.write(LogLevel.INFO, "Performance Log", category="performance", facts=facts)

    def write(
        self,
        level: LogLevel,
        message: str,
        *,
        trace: str = "",
        context: str = "",
        category: str = "",
        facts: Mapping[str, object] | None = None,
    ) -> None:
        """Write a line of a level, unless the logger's level leaves it out."""
        if not level.is_at_least(self._level):
            return
        line = LogLine(
            datetime.now(UTC),
            level,
            redact_text(str(message)),
            context or self.context,
            self.service,
            self.environment,
            self.instance,
            category,
            redact_text(trace),
            facts={str(name): value for name, value in _plain(redact(dict(facts or {}))).items()},
        )
        encoded = _encoded(winston_json(line))
        with self._lock:
            self._print(encoded.decode("utf-8", "replace"))
            if self._folder:
                self._append(self._folder / COMBINED, encoded)
                if level is LogLevel.ERROR:
                    self._append(self._folder / ERRORS, encoded)

    def _print(self, text: str) -> None:
        try:
            self._console.write(text)
            self._console.flush()
        except (OSError, ValueError) as error:  # the reader of the output has closed it
            self._complain("the console", error)

    def _append(self, path: Path, encoded: bytes) -> None:
        """Append a line in one write, so that lines of several processes don't mix; rotation may move the file."""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
            try:
                os.write(descriptor, encoded)
            finally:
                os.close(descriptor)
        except OSError as error:
            self._complain(str(path), error)
        else:
            self._broken.discard(str(path))

    def _complain(self, place: str, error: Exception) -> None:
        if place not in self._broken:
            self._broken.add(place)
            sys.stderr.write(f"log line not written to {place}: {error}\n")


class StructuredHandler(logging.Handler):
    """Writes the records of Python's `logging` with a `StructuredLogger`; `extra` becomes facts."""

    def __init__(self, logger: StructuredLogger) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record."""
        level = next((found for number, found in PYTHON_LEVELS if record.levelno >= number), LogLevel.DEBUG)
        trace = "".join(traceback.format_exception(*record.exc_info)) if record.exc_info and record.exc_info[0] else ""
        facts = {name: value for name, value in vars(record).items() if name not in STANDARD_ATTRIBUTES}
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            message = f"{record.msg} {record.args}"
        self._logger.write(level, message, trace=trace, context=record.name, facts=facts)


STANDARD_ATTRIBUTES: Final = {*vars(logging.makeLogRecord({})), "message", "asctime", "taskName"}


def structlog_writer(logger: StructuredLogger) -> Callable[[Any, str, Mapping[str, Any]], Mapping[str, Any]]:
    """
    Return a processor of structlog that writes each event with a logger.

    Put it last but one: the event goes on unchanged to the renderer, for whoever wants it on the console too.
    """

    def write(_: Any, method: str, event: Mapping[str, Any]) -> Mapping[str, Any]:
        level = LogLevel.ERROR if method == "exception" else known_level(method) or LogLevel.INFO
        facts = {key: value for key, value in event.items() if key not in {"event", "exception", "logger", "level"}}
        logger.write(
            level,
            str(event.get("event", "")),
            trace=str(event.get("exception") or (traceback.format_exc() if sys.exc_info()[0] else "")),
            context=str(event.get("logger") or ""),
            facts=facts,
        )
        return event

    return write


def _encoded(fields: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(fields, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE)
    except TypeError:  # halves of surrogate pairs, and numbers beyond 64 bits
        return json.dumps(fields, default=str, sort_keys=True).encode() + b"\n"


def _plain(value: object) -> Mapping[object, object]:
    return value if isinstance(value, Mapping) else {}
