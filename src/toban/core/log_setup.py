"""Configures toban's own log: events with fields, on standard error."""

import contextlib
import json
import logging
import os
import sys
import threading
import traceback
from collections.abc import Callable, MutableMapping
from typing import Any, Final, TextIO

import orjson
import structlog

from toban.core.exception_hook import report_exception
from toban.core.terminal_escapes import escape_controls, escape_line

FORMATS: Final = ("auto", "text", "json")


class _NamedWriter:
    """Writes lines to a file, for a logger of this name."""

    def __init__(self, file: TextIO, name: str) -> None:
        self._file = file
        self.name = name

    def msg(self, line: str) -> None:
        """Write a line; an error, as on a full disk, must not end the work that logs it."""
        with contextlib.suppress(OSError):
            self._file.write(line + "\n")
            self._file.flush()

    debug = info = warning = error = critical = exception = msg


def configure_logging(level: str, out: TextIO | None = None, form: str = "auto") -> bool:
    """
    Log events of a level and above, as text or as JSON lines, and return whether they are JSON.

    ``auto`` is text on a terminal and JSON elsewhere. Raises ``ValueError`` for an unknown level or format.
    """
    out = out or sys.stderr
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"LOG_LEVEL: unknown level {level!r}: use debug, info, warning or error")
    if form not in FORMATS:
        raise ValueError(f"LOG_FORMAT: unknown format {form!r}: use {', '.join(FORMATS)}")
    stream = out
    # Without the values of variables: they include passwords and personal data.
    traces = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))
    is_json = form == "json" or (form == "auto" and not out.isatty())
    last: list[Callable[..., Any]] = [traces, _as_json] if is_json else [_as_text]
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        report_exception,
    ]
    structlog.configure(
        processors=[structlog.stdlib.add_logger_name, *shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *names: _NamedWriter(stream, names[0] if names else "toban"),
        cache_logger_on_first_use=True,
    )
    # Libraries log through the standard library: their warnings get the same form.
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(level=max(number, logging.WARNING), handlers=[handler], force=True)
    return is_json


def capture_warnings_and_crashes() -> None:
    """Log what Python would print on standard error: warnings, and uncaught exceptions of threads."""
    logging.captureWarnings(True)
    log = structlog.get_logger("toban")

    def log_crash(crash: threading.ExceptHookArgs) -> None:
        if crash.exc_value:
            log.error("thread crashed", thread=crash.thread and crash.thread.name, exc_info=crash.exc_value)

    threading.excepthook = log_crash


def shares_stdout(out: TextIO | None = None) -> bool:
    """Return whether the log and standard output are the same file, pipe or journal."""
    try:
        return os.path.samestat(os.fstat((out or sys.stderr).fileno()), os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError):
        return False  # one of them is closed, or not a file


def _as_json(logger: object, method: str, event: MutableMapping[str, Any]) -> str:
    try:
        line = orjson.dumps(dict(event), default=str).decode()
    except TypeError:  # a lone surrogate, which orjson rejects
        line = json.dumps(dict(event), default=str)
    return escape_controls(line)


def _as_text(logger: object, method: str, event: MutableMapping[str, Any]) -> str:
    at, level, logger_name = event.pop("timestamp", ""), event.pop("level", ""), event.pop("logger", "")
    exception = event.pop("exc_info", None)
    message = event.pop("event", "")
    fields = " ".join(f"{field}={value}" for field, value in event.items())
    line = escape_line(
        f"{at[11:19]} {level:<8}{logger_name.removeprefix('toban.')}: {message}{'  ' + fields if fields else ''}"
    )
    if exception:
        error = exception if isinstance(exception, BaseException) else sys.exc_info()[1]
        if error:
            line += "\n" + escape_controls("".join(traceback.format_exception(error)))
    return line
