"""Joins the lines of a file to entries: an error and its stack trace are one."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from toban.logs.line_parser import LineFormat, LineParser, ParsedLine, Reading, cleaned

MAX_ENTRY: Final = 65_536
"""Characters of an entry; a line beyond begins a new one."""
MAX_ENTRY_LINES: Final = 1_000
"""Lines of an entry."""


class TextLine(NamedTuple):
    """A line of a file, and the offset of its end."""

    text: str
    end: int


class Entry(NamedTuple):
    """What one line or several say, the format that they are in, and the offset of their end."""

    line: ParsedLine
    format: str
    end: int


@dataclass(slots=True)
class _OpenEntry:
    """An entry to which the next line may belong."""

    parser: LineParser
    first: ParsedLine
    end: int
    size: int
    more: list[str] = field(default_factory=list)

    def takes(self, text: str) -> bool:
        has_room = self.size + len(text) <= MAX_ENTRY and len(self.more) < MAX_ENTRY_LINES
        return has_room and self.parser.continues(self.first, self.more, text)

    def add(self, line: TextLine) -> None:
        self.more.append(line.text)
        self.end = line.end
        self.size += len(line.text) + 1

    def entry(self) -> Entry:
        parsed = self.parser.join(self.first, self.more) if self.more else self.first
        return Entry(parsed, self.parser.kind, self.end)


def read_entries(
    lines: Iterable[TextLine], formats: LineFormat, reading: Reading, *, final: bool
) -> tuple[list[Entry], int | None]:
    """
    Return the entries of some lines, and the offset up to which they are complete, None where none is.

    The last one is left out while the next line may belong to it, unless the lines are ``final``. Empty lines between
    entries are none.
    """
    found: list[Entry] = []
    done: int | None = None
    open_entry: _OpenEntry | None = None
    for text, end in lines:
        line = TextLine(cleaned(text), end)
        start = formats.distinctive(line.text, reading)
        if not start and open_entry and open_entry.takes(line.text):
            open_entry.add(line)
            continue
        if open_entry:
            found.append(open_entry.entry())
            done, open_entry = open_entry.end, None
        if not line.text:
            done = end
            continue
        parser, parsed = start or formats.other(line.text, reading)
        if parser.joins_lines:
            open_entry = _OpenEntry(parser, parsed, end, len(line.text))
        else:
            found.append(Entry(parsed, parser.kind, end))
            done = end
    if open_entry and final:
        found.append(open_entry.entry())
        done = open_entry.end
    return found, done
