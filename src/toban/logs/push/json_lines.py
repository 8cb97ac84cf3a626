"""Reads lines in JSON: one object on each line, or an array of them."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

import orjson

from toban.core.errors import TobanError
from toban.core.log_line import LogLine
from toban.logs.line_parser import Reading, line_format
from toban.logs.push.loki_request import MAX_BRACKETS, MAX_LINE, MAX_LINES
from toban.logs.push.pushed_line import FIELDS, pushed_line

MAX_ERRORS: Final = 20
"""How many errors of one request are named."""


class JsonLinesError(TobanError):
    """A request that can't be read at all."""


@dataclass(frozen=True, slots=True)
class LineError:
    """What is wrong with a line; the number counts from 1."""

    line: int
    message: str


@dataclass(slots=True)
class JsonLines:
    """The lines of a request that are accepted, how many others were rejected, and the first errors."""

    lines: list[LogLine] = field(default_factory=list)
    rejected: int = 0
    errors: list[LineError] = field(default_factory=list)

    def reject(self, number: int, message: str) -> None:
        """Reject a line."""
        self.rejected += 1
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(LineError(number, message))


def read_json_lines(body: bytes, now: datetime) -> JsonLines:
    """Read a request; a line without a time gets that of its arrival. Raises ``JsonLinesError``."""
    found = JsonLines()
    for number, text in enumerate(_texts(body), 1):
        if len(text) > MAX_LINE:
            found.reject(number, f"has {len(text)} characters: at most {MAX_LINE} are accepted")
        elif text.strip():
            parsed = line_format("winston").parse(text.strip(), Reading(now))
            if not text.lstrip().startswith("{") or (not parsed.facts and parsed.message == text.strip()):
                found.reject(number, "must be an object in JSON, with a `message`")
                continue
            named = {
                name: value
                for names in FIELDS.values()
                for name in names
                if isinstance(value := parsed.facts.get(name), str)
            }
            facts = {name: value for name, value in parsed.facts.items() if name not in named}
            exact = parsed.is_time_exact
            found.lines.append(pushed_line(replace(parsed, facts=facts), parsed.at or now, named, is_time_exact=exact))
    return found


def _texts(body: bytes) -> list[str]:
    """Return the objects of a request as texts."""
    text = body.decode(errors="replace")
    if text.lstrip()[:1] == "[":
        return [orjson.dumps(it).decode() for it in _array(body)]
    texts = text.split("\n")
    if len(texts) > MAX_LINES + 1:
        raise JsonLinesError(f"more than {MAX_LINES} lines in one request: send fewer")
    return texts


def _array(body: bytes) -> list[Any]:
    if body.count(b"[") + body.count(b"{") > MAX_BRACKETS:
        raise JsonLinesError(f"more than {MAX_LINES} lines in one request: send fewer")
    try:
        content = orjson.loads(body)
    except ValueError as error:
        raise JsonLinesError(f"invalid JSON: {error}") from error
    if len(content) > MAX_LINES:
        raise JsonLinesError(f"more than {MAX_LINES} lines in one request: send fewer")
    return list(content)
