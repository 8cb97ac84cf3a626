"""A parser reads one format of log lines; `auto` tries all of them."""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, tzinfo
from functools import cache
from typing import ClassVar, Final

from toban.core.log_line import LogLevel
from toban.core.plugins import Plugin, PluginRegistry

AUTO: Final = "auto"
"""The format that is decided line by line."""
PLAIN: Final = "plain"
"""The format of every other line."""

ANSI: Final = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")
"""Sequences that control a terminal: colours, mostly."""

ERROR_HEAD: Final = re.compile(
    r"(?:Uncaught )?(?:[A-Za-z_$][\w$.]{0,100}(?:Error|Exception|Rejection)|Error|error)(?: \[[\w.]{1,60}\])?:"
    r"|AggregateError\b"
)
"""The beginning of what Node.js prints of an error."""

STACK_LINE: Final = re.compile(r"\s+at |\s+\.\.\. \d")
"""A line of a stack trace."""

_ENTRY_END: Final = ("}", "]", ")", "[cause]", "Caused by")


@dataclass(frozen=True, slots=True)
class Reading:
    """
    When a line was read, or its file was written last, which is the time of a line without one.

    ``zone`` is that of times without one; None stands for this machine's.
    """

    at: datetime
    zone: tzinfo | None = None


@dataclass(frozen=True, slots=True)
class ParsedLine:
    """What a line says; what it does not say is None or empty. ``has_seconds`` tells how exact its time is."""

    message: str
    level: LogLevel | None = None
    at: datetime | None = None
    context: str = ""
    service: str = ""
    environment: str = ""
    instance: str = ""
    category: str = ""
    trace: str = ""
    trace_id: str = ""
    facts: Mapping[str, object] = field(default_factory=dict)
    has_seconds: bool = True

    @property
    def is_time_exact(self) -> bool:
        """Whether the line itself says when it was written, to the second at least."""
        return self.at is not None and self.has_seconds


class LineParser(Plugin, ABC):
    """
    Reads the lines of one format, without terminal sequences and white space at their end.

    Whatever a line holds, none of its methods raises an error.
    """

    is_distinctive: ClassVar[bool] = True
    """Whether the first line of an entry can't be part of an entry in another format."""

    joins_lines: ClassVar[bool] = False
    """Whether an entry may have several lines."""

    @abstractmethod
    def parse(self, text: str, reading: Reading) -> ParsedLine | None:
        """Return what the first line of an entry says; None when it is not in this format."""

    def continues(self, first: ParsedLine, more: Sequence[str], text: str) -> bool:
        """Return whether a line belongs to an entry, of which there are the first and ``more`` lines."""
        return False

    def join(self, first: ParsedLine, more: Sequence[str]) -> ParsedLine:
        """Return an entry with all of its lines: from the first of a stack trace on they are the trace."""
        split = next((at for at, text in enumerate(more) if is_stack(text)), len(more))
        message = "\n".join((first.message, *more[:split])) if split else first.message
        return replace(first, message=message, trace="\n".join(more[split:]))


PARSERS: Final = PluginRegistry("toban.logs.parsers", LineParser, "log format")  # type: ignore[type-abstract]  # the root of the family is never made itself


@dataclass(frozen=True, slots=True)
class LineFormat:
    """The parsers of a file: those whose first lines can't be mistaken, and the others, which accept every line."""

    distinctive_parsers: tuple[LineParser, ...]
    other_parsers: tuple[LineParser, ...]

    def parse(self, text: str, reading: Reading) -> ParsedLine:
        """Return what a single line says."""
        text = cleaned(text)
        _, parsed = self.distinctive(text, reading) or self.other(text, reading)
        return parsed

    def distinctive(self, text: str, reading: Reading) -> tuple[LineParser, ParsedLine] | None:
        """Return what a line says that begins an entry, whatever was before it."""
        for parser in self.distinctive_parsers:
            if parsed := parser.parse(text, reading):
                return parser, parsed
        return None

    def other(self, text: str, reading: Reading) -> tuple[LineParser, ParsedLine]:
        """Return what any other line says that begins an entry."""
        return next((parser, parsed) for parser in self.other_parsers if (parsed := parser.parse(text, reading)))


@cache
def line_format(name: str = AUTO) -> LineFormat:
    """Return the parsers of a format; `auto` tries all: those of JSON first, and of these the one that reads less."""
    names = sorted(PARSERS.names(), key=lambda kind: (kind != "docker", kind != "winston")) if name == AUTO else [name]
    parsers = [PARSERS.load(kind)(kind=kind) for kind in names if kind != PLAIN]
    return LineFormat(
        tuple(parser for parser in parsers if parser.is_distinctive),
        (*(parser for parser in parsers if not parser.is_distinctive), PARSERS.load(PLAIN)(kind=PLAIN)),
    )


def cleaned(text: str) -> str:
    """Return a line without terminal sequences and white space at its end."""
    return (ANSI.sub("", text) if "\x1b" in text else text).rstrip()


def is_stack(text: str) -> bool:
    """Return whether a line is part of a stack trace: its head, or one of its calls."""
    return bool(STACK_LINE.match(text) or ERROR_HEAD.match(text))


def is_indented(text: str) -> bool:
    """Return whether a line can only be the middle or the end of an entry."""
    return text[:1].isspace() or text.startswith(_ENTRY_END)


def continues_message(first: ParsedLine, more: Sequence[str], text: str) -> bool:
    """Return whether a line belongs to a logger's message: what is indented, or the head of an error's stack trace."""
    if is_indented(text):
        return True
    # After a message that is no error, it is the error of somebody else.
    return first.level is LogLevel.ERROR and not any(map(is_stack, more)) and bool(ERROR_HEAD.match(text))
