"""The format `nest`: NestJS's ConsoleLogger (`packages/common/services/console-logger.service.ts`)."""

import re
from collections.abc import Sequence
from typing import ClassVar, Final, Literal

from toban.core.log_levels import LEVELS
from toban.logs.line_parser import LineParser, ParsedLine, Reading, continues_message
from toban.logs.timestamps import parse_timestamp

LINE: Final = re.compile(
    r"\[Nest\] (\d{1,10})\s{1,4}- (.{6,40}?)\s{1,8}(LOG|ERROR|WARN|DEBUG|VERBOSE|FATAL) (?:\[([^\]]{0,200})\] )?(.*)",
    re.DOTALL,
)
SINCE_LAST: Final = re.compile(r"\+\d{1,12}ms")
"""The time since the last line, at the end."""


class Nest(LineParser):
    """Read the lines of NestJS's console logger."""

    kind: Literal["nest"] = "nest"

    joins_lines: ClassVar[bool] = True

    def parse(self, text: str, reading: Reading) -> ParsedLine | None:
        """Return what a line says; its time has no zone."""
        found = LINE.match(text)
        if not found:
            return None
        pid, time, level, context, message = found.groups()
        before, _, last = message.rpartition(" ")
        return ParsedLine(
            before if SINCE_LAST.fullmatch(last) else message,
            LEVELS[level.lower()],
            parse_timestamp(time, reading),
            context or "",
            facts={"pid": int(pid)},
        )

    def continues(self, first: ParsedLine, more: Sequence[str], text: str) -> bool:
        """Return whether a line is part of a message of several lines, or of its stack trace."""
        return continues_message(first, more, text)
