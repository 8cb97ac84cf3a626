"""
Rows: how the text of a line is stored and searched.

A row is the message, then the stack trace and the facts (JSON) where there are any, each after a mark of its own. What
is searched is the same with a line break for each mark. Within a row a line break is a mark too: a row ends with the
only line break, so that one search runs over thousands of rows and no match leaves its row.
"""

import json
import re
from typing import Final

from toban.core.log_line import LogLevel, LogLine, LogStream
from toban.core.samples import moment
from toban.core.untyped_json import json_text

BREAK, TRACE, FACTS, ESCAPE = "\x1e", "\x1f", "\x1c", "\x1d"
"""Marks: of a line break, before a stack trace, before facts, and before the stand-in of a mark that a text holds."""

MARKS: Final = re.escape(BREAK + TRACE + FACTS)
ESCAPE_BYTE: Final = ESCAPE.encode()
LOUD: Final = frozenset({LogLevel.ERROR.value, LogLevel.WARN.value})
"""Levels whose rows are stored apart: what is asked most is little."""

_MARK: Final = re.compile(f"[{MARKS}{ESCAPE}]")
_STAND_INS: Final = {ESCAPE: "\x01", BREAK: "\x02", TRACE: "\x03", FACTS: "\x04"}
_ORIGINALS: Final = {stand_in: mark for mark, stand_in in _STAND_INS.items()}
_ESCAPED: Final = re.compile(f"{ESCAPE}(.)")
_MARK_OR_ESCAPED: Final = re.compile(f"[{MARKS}]|{ESCAPE}.".encode())
_BREAKS: Final = bytes.maketrans((BREAK + TRACE + FACTS).encode(), b"\n\n\n")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def valid(text: str) -> str:
    """Return a text that UTF-8 can encode: U+FFFD in place of each lone surrogate."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)


def encode_row(line: LogLine) -> str:
    """Return the row of a line, without the line break at its end."""
    row = _escape(line.message)
    if line.trace:
        row += TRACE + _escape(line.trace)
    if line.facts:
        row += FACTS + _escape(json_text(line.facts))
    return valid(row)


def searched_text(row: bytes) -> bytes:
    """Return what is searched of a row: message, stack trace and facts, each on lines of its own."""
    if ESCAPE_BYTE in row:
        return _MARK_OR_ESCAPED.sub(lambda found: _original(found[0]), row)
    return row.translate(_BREAKS)


def decode_row(row: bytes, at: int, stream: LogStream, trace_id: str) -> LogLine:
    """Return the line of a row."""
    text, _, facts = row.decode().partition(FACTS)
    message, _, trace = text.partition(TRACE)
    return LogLine(
        moment(at),
        LogLevel(stream.level),
        _unescape(message),
        stream.context,
        stream.service,
        stream.environment,
        stream.instance,
        stream.category,
        _unescape(trace),
        trace_id,
        json.loads(_unescape(facts)) if facts else {},
    )


def _escape(text: str) -> str:
    if _MARK.search(text):
        text = _MARK.sub(lambda found: ESCAPE + _STAND_INS[found[0]], text)
    return text.replace("\n", BREAK)


def _unescape(text: str) -> str:
    text = text.replace(BREAK, "\n")
    return _ESCAPED.sub(lambda found: _ORIGINALS[found[1]], text) if ESCAPE in text else text


def _original(found: bytes) -> bytes:
    return b"\n" if len(found) == 1 else _ORIGINALS[found[1:].decode()].encode()
