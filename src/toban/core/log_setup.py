"""toban's own log: an event and its facts, on standard error."""

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

from toban.core.terminal_escapes import escape_controls, escape_line

FORMATS: Final = ("auto", "text", "json")


class _Named:
    """Writes lines, and knows which part of toban it speaks for."""

    def __init__(self, file: TextIO, name: str) -> None:
        self._file = file
        self.name = name

    def msg(self, line: str) -> None:
        """Write a line; one that can't be written, on a full disk say, must not end the work it tells of."""
        with contextlib.suppress(OSError):
            self._file.write(line + "\n")
            self._file.flush()

    debug = info = warning = error = critical = exception = msg


def configure_logging(level: str, out: TextIO | None = None, form: str = "auto") -> bool:
    """
    Write events of a level and above, as text or as JSON lines, and return whether they are JSON.

    ``auto`` is text at a terminal and JSON elsewhere. Raises ``ValueError`` for a level or a format that isn't one.
    """
    out = out or sys.stderr
    number = logging.getLevelNamesMapping().get(level.upper())
    if number is None:
        raise ValueError(f"LOG_LEVEL: {level!r} is no level: debug, info, warning or error")
    if form not in FORMATS:
        raise ValueError(f"LOG_FORMAT: {form!r} is no format: {', '.join(FORMATS)}")
    stream = out
    # Without the values of variables: passwords and customers are among them.
    traces = structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))
    is_json = form == "json" or (form == "auto" and not out.isatty())
    last: list[Callable[..., Any]] = [traces, _as_json] if is_json else [_in_words]
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[structlog.stdlib.add_logger_name, *shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *names: _Named(stream, names[0] if names else "toban"),
        cache_logger_on_first_use=True,
    )
    # Libraries speak through the standard library: their warnings come out in the same form.
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
    """Log what Python would print on standard error itself: warnings, and what ends a thread."""
    logging.captureWarnings(True)
    log = structlog.get_logger("toban")

    def ended(told: threading.ExceptHookArgs) -> None:
        if told.exc_value:
            log.error("a thread ended by an error", thread=told.thread and told.thread.name, exc_info=told.exc_value)

    threading.excepthook = ended


def shares_stdout(out: TextIO | None = None) -> bool:
    """Tell whether the log goes where standard output goes: into one file, one pipe, or the journal."""
    try:
        return os.path.samestat(os.fstat((out or sys.stderr).fileno()), os.fstat(sys.stdout.fileno()))
    except (OSError, ValueError):
        return False  # one of them is closed, or no file


def _as_json(logger: object, method: str, event: MutableMapping[str, Any]) -> str:
    try:
        line = orjson.dumps(dict(event), default=str).decode()
    except TypeError:  # half a character, which orjson does not write
        line = json.dumps(dict(event), default=str)
    return escape_controls(line)


def _in_words(logger: object, method: str, event: MutableMapping[str, Any]) -> str:
    at, level, who = event.pop("timestamp", ""), event.pop("level", ""), event.pop("logger", "")
    trouble = event.pop("exc_info", None)
    told = event.pop("event", "")
    facts = " ".join(f"{name}={value}" for name, value in event.items())
    line = escape_line(f"{at[11:19]} {level:<8}{who.removeprefix('toban.')}: {told}{'  ' + facts if facts else ''}")
    if trouble:
        error = trouble if isinstance(trouble, BaseException) else sys.exc_info()[1]
        if error:
            line += "\n" + escape_controls("".join(traceback.format_exception(error)))
    return line
