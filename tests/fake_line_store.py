"""A store of log lines in memory."""

import threading
from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence

from toban.core.errors import StoreError
from toban.core.log_line import LogLine, LogStream
from toban.core.samples import milliseconds
from toban.logs.line_store import (
    Direction,
    LinePosition,
    LineSelection,
    SearchSlice,
    StoredLine,
    StoreReport,
    StreamCount,
)
from toban.logs.text_filter import compile_filter, searched_text, shown_text


class FakeLineStore:
    """
    Keeps lines in the order of time; raises ``StoreError`` with ``error`` if there is one.

    A slice of a search has at most ``slice_lines`` lines; ``first`` is the number of the first line.
    """

    def __init__(self, lines: Sequence[LogLine] = (), slice_lines: int = 100, *, first: int = 1) -> None:
        self.error = ""
        self.slice_lines = slice_lines
        self.open_searches = 0
        self.selections: list[LineSelection] = []
        self.counted = 0
        self.deleted_before = 0
        self._lines: list[StoredLine] = []
        self._cursors: dict[str, str] = {}
        self._next = first
        self._lock = threading.Lock()
        if lines:
            self.append(lines, {})

    def append(self, lines: Sequence[LogLine], cursors: Mapping[str, str]) -> int:
        self._check()
        with self._lock:
            first = self._next
            for number, line in enumerate(lines, first):
                self._lines.append(StoredLine(LinePosition(milliseconds(line.at), number), line))
            self._lines.sort(key=lambda stored: stored.position)
            self._next += len(lines)
            self._cursors.update(cursors)
            return first

    def cursor(self, name: str) -> str:
        return self._cursors.get(name, "")

    def cursors(self, prefix: str) -> Mapping[str, str]:
        return {name: text for name, text in self._cursors.items() if name.startswith(prefix)}

    def forget_cursors(self, names: Sequence[str]) -> None:
        for name in names:
            self._cursors.pop(name, None)

    def numbered(self, first: int, limit: int) -> Sequence[StoredLine]:
        found = sorted(self._lines, key=lambda stored: stored.position.number)
        return [it for it in found if it.position.number >= first][:limit]

    def search(
        self, selection: LineSelection, limit: int, direction: Direction = Direction.BACKWARD
    ) -> Iterator[SearchSlice]:
        self._check()
        self.selections.append(selection)
        found = self._selected(selection)
        if direction is Direction.BACKWARD:
            found.reverse()
        found = found[:limit]
        self.open_searches += 1
        try:
            for first in range(0, len(found), self.slice_lines):
                self._check()
                part = found[first : first + self.slice_lines]
                yield SearchSlice(part, part[-1].position.at)
            yield SearchSlice([], selection.start if direction is Direction.BACKWARD else selection.end)
        finally:
            self.open_searches -= 1

    def count(self, selection: LineSelection, step: int) -> Iterator[Sequence[StreamCount]]:
        self._check()
        self.counted += 1
        found = self._selected(selection)
        for first in range(0, len(found), self.slice_lines):
            counts: dict[tuple[LogStream, int], list[int]] = {}
            for stored in found[first : first + self.slice_lines]:
                count = counts.setdefault((stored.line.stream, stored.position.at // step * step), [0, 0])
                count[0] += 1
                count[1] += len(shown_text(stored.line).encode())
            yield [StreamCount(stream, at, *count) for (stream, at), count in counts.items()]

    def streams(self, start: int, end: int) -> Sequence[LogStream]:
        self._check()
        return list({it.line.stream for it in self._selected(LineSelection(start, end))})

    def report(self) -> StoreReport:
        self._check()
        ends = (self._lines[0].position.at, self._lines[-1].position.at) if self._lines else (None, None)
        size = sum(len(searched_text(it.line)) for it in self._lines)
        return StoreReport(len(self._lines), size, *ends, self._next)

    def kept_since(self) -> int | None:
        self._check()
        return self.deleted_before or (self._lines[0].position.at if self._lines else None)

    def maintain(self, now: int) -> None:
        self._check()

    def delete_before(self, time: int) -> None:
        """Delete the lines before a time."""
        self.deleted_before = time
        with self._lock:
            self._lines = [it for it in self._lines if it.position.at >= time]

    def _selected(self, selection: LineSelection) -> list[StoredLine]:
        filters = [compile_filter(it) for it in selection.filters]
        with self._lock:
            first, last = (
                bisect_left(self._lines, (at,), key=lambda stored: stored.position)
                for at in (selection.start, selection.end)
            )
            lines = self._lines[first:last]
        return [
            it
            for it in lines
            if selection.selects(it.line.stream)
            and (selection.before is None or it.position < selection.before)
            and (selection.after is None or it.position > selection.after)
            and (not selection.trace_id or it.line.trace_id == selection.trace_id)
            and all(matches(searched_text(it.line)) for matches in filters)
        ]

    def _check(self) -> None:
        if self.error:
            raise StoreError(self.error)
