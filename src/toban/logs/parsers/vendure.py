"""The format `vendure`: Vendure's DefaultLogger (`packages/core/src/config/logger/default-logger.ts`)."""

import re
from collections.abc import Sequence
from typing import ClassVar, Final, Literal

from toban.core.log_levels import LEVELS
from toban.logs.line_parser import LineParser, ParsedLine, Reading, continues_message
from toban.logs.timestamps import parse_timestamp

# Without a time there are two spaces. The time is written in the locale of the process.
LINE: Final = re.compile(r"(error|warn|info|verbose|debug) (?:([^\[\]]{6,40}?) -)? \[([^\]]{0,200})\] ?(.*)", re.DOTALL)


class Vendure(LineParser):
    """Read the lines of Vendure's default logger."""

    kind: Literal["vendure"] = "vendure"

    joins_lines: ClassVar[bool] = True

    def parse(self, text: str, reading: Reading) -> ParsedLine | None:
        """Return what a line says; its time has no zone, and no seconds."""
        found = LINE.match(text)
        if not found:
            return None
        level, time, context, message = found.groups()
        at = parse_timestamp(time, reading) if time else None
        return ParsedLine(message, LEVELS[level], at, context, has_seconds=False)

    def continues(self, first: ParsedLine, more: Sequence[str], text: str) -> bool:
        """Return whether a line is part of a message of several lines, or of its stack trace."""
        return continues_message(first, more, text)
