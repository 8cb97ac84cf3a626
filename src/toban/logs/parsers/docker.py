"""The format `docker`: a line of a program within JSON, as Docker's driver `json-file` and Fluent Bit write it."""

from dataclasses import replace
from typing import Any, Final, Literal

import orjson

from toban.core.log_levels import known_level
from toban.logs.line_parser import LineParser, ParsedLine, Reading, line_format
from toban.logs.timestamps import parse_timestamp

LINE: Final = "log"
TIME: Final = ("time", "timestamp", "date")
MESSAGE: Final = frozenset({"message", "msg"})
"""What has one of these is a line of the program itself, with a field `log`."""


class Docker(LineParser):
    """Read JSON whose field `log` is the line that a program wrote, in whatever format; the other fields are facts."""

    kind: Literal["docker"] = "docker"

    def parse(self, text: str, reading: Reading) -> ParsedLine | None:
        """Return what the line within says; a time of its own counts more than the one around it."""
        if not text.startswith("{") or f'"{LINE}"' not in text:
            return None
        fields = _fields(text)
        if fields is None:
            return None
        parsed = line_format().parse(fields.pop(LINE), reading)
        key = next((it for it in TIME if it in fields), "")
        at = parse_timestamp(fields[key], reading) if key else None
        if at:
            del fields[key]
        level = known_level(fields.get("level"))
        if level:
            del fields["level"]
        if at and not parsed.is_time_exact:
            parsed = replace(parsed, at=at, has_seconds=True)
        return replace(parsed, level=parsed.level or level, facts={**fields, **parsed.facts})


def _fields(text: str) -> dict[str, Any] | None:
    """Return the fields of an object with a line of text; None for anything else."""
    try:
        fields = orjson.loads(text)
    except ValueError:
        return None
    is_line = isinstance(fields, dict) and isinstance(fields.get(LINE), str) and not MESSAGE & set(fields)
    return fields if is_line else None
