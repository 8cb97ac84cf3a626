"""Splits the bytes of a file into lines."""

from codecs import BOM_UTF8
from dataclasses import dataclass, field
from typing import Final

from toban.logs.entries import TextLine

MAX_LINE: Final = 2**20
"""Bytes of a line that are read; the rest of it is skipped."""

MAX_LINES: Final = 2_000
"""Lines that are split at a time; more than an entry has."""


@dataclass(slots=True)
class SplitLines:
    """
    Lines, and the offset up to which the bytes are done.

    ``cut`` and ``replaced`` are the ends of lines that were too long, or had bytes that are no UTF-8. ``in_cut_line``
    tells that the rest of a line is to be skipped, ``has_more`` that there are further lines in the bytes.
    """

    end: int
    in_cut_line: bool = False
    has_more: bool = False
    lines: list[TextLine] = field(default_factory=list)
    cut: list[int] = field(default_factory=list)
    replaced: list[int] = field(default_factory=list)

    def add(self, raw: bytes, end: int) -> None:
        """Add a line without its line break."""
        if len(raw) > MAX_LINE:
            self.cut.append(end)
            raw = raw[: cut_length(raw)]
        raw = raw.removeprefix(BOM_UTF8)
        try:
            text = raw.decode()
        except UnicodeDecodeError:
            text = raw.decode(errors="replace")
            self.replaced.append(end)
        self.lines.append(TextLine(text, end))
        self.end = end


def split_lines(data: bytes, start: int, *, in_cut_line: bool, final: bool) -> SplitLines:
    """
    Split bytes that begin at an offset into lines.

    Bytes after the last line break are no line yet, unless they are ``final`` or too long. Zero bytes are left out:
    a file has them at its head when it was truncated under a program that does not append, and UTF-16 has them.
    """
    found = SplitLines(start)
    at = 0
    if in_cut_line:
        at = data.find(b"\n") + 1
        if not at:
            return SplitLines(start + len(data), in_cut_line=True)
        found.end = start + at
    last = data.rfind(b"\n") + 1
    if at < last:
        lines = data[at : last - 1].split(b"\n", MAX_LINES)
        for raw in lines[:MAX_LINES]:
            at += len(raw) + 1
            found.add(raw.replace(b"\0", b""), start + at)
        if len(lines) > MAX_LINES:
            found.has_more = True
            return found
    rest = data[last:]
    line = rest.lstrip(b"\0")
    if len(line) > MAX_LINE:
        end = start + len(data) - len(line) + cut_length(line)
        found.add(line.replace(b"\0", b""), end)
        found.in_cut_line = True
    elif not line:
        found.end = start + len(data)
    elif final:
        found.add(line.replace(b"\0", b""), start + len(data))
    return found


def cut_length(raw: bytes) -> int:
    """Return the length of a line that is too long: it does not end in the middle of a character."""
    return next((at for at in range(MAX_LINE, MAX_LINE - 4, -1) if raw[at] & 0xC0 != 0x80), MAX_LINE)
