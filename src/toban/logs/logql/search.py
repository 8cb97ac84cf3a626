"""Searches lines, slice by slice. Synchronous: it runs in threads."""

from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from toban.core.samples import moment
from toban.logs.line_store import Direction, LinePosition, LineStore, StoredLine
from toban.logs.logql.evaluation import ALL, CHECK_EVERY, closed
from toban.logs.logql.plan import LinePipeline, plan
from toban.logs.logql.query_limits import LogqlLimits
from toban.logs.logql.records import Record
from toban.logs.logql.syntax_tree import LogQuery


@dataclass(frozen=True, slots=True)
class FoundLine:
    """A line that a query found: its text, and its labels by where they come from."""

    stored: StoredLine
    text: str
    stream: Mapping[str, str]
    metadata: Mapping[str, str]
    parsed: Mapping[str, str]

    @property
    def position(self) -> LinePosition:
        """Its place in the order of lines."""
        return self.stored.position

    @property
    def labels(self) -> Mapping[str, str]:
        """All labels together."""
        return {**self.stream, **self.metadata, **self.parsed}


@dataclass(frozen=True, slots=True)
class MissingLines:
    """A range of time (milliseconds) whose lines could not be searched, and why."""

    start: int
    end: int
    reason: str

    @property
    def warning(self) -> str:
        """A sentence that says so."""
        begin, end = (f"{moment(at):%Y-%m-%dT%H:%M:%SZ}" for at in (self.start, self.end))
        return f"the lines from {begin} to {end} could not be searched: {self.reason}"


@dataclass(frozen=True, slots=True)
class FoundSlice:
    """
    What a part of a search has found, and the time (milliseconds) up to which all lines are found.

    ``missing`` is what could not be searched. ``outside`` is the time before which lines come from the outside engine,
    if some do.
    """

    lines: Sequence[FoundLine]
    reached: int
    missing: Sequence[MissingLines] = ()
    outside: int | None = None


@dataclass(frozen=True, slots=True)
class LineSearch:
    """
    A search for lines: newest first, or oldest first.

    ``start`` is inclusive, ``end`` exclusive (milliseconds); ``before`` and ``after`` are positions to go on from.
    ``nanoseconds`` are the same bounds where they are finer (`LinePosition.nanoseconds`).
    """

    query: LogQuery
    start: int
    end: int
    limit: int
    direction: Direction = Direction.BACKWARD
    before: LinePosition | None = None
    after: LinePosition | None = None
    nanoseconds: range | None = None


def search(store: LineStore, wanted: LineSearch, check: Callable[[], None]) -> Iterator[FoundSlice]:
    """Find lines; ``check`` is called often, and may raise. Raises ``StoreError``."""
    found = plan(wanted.query)
    pipeline, left = LinePipeline(found.stages), wanted.limit
    selection = found.selection(wanted.start, wanted.end, wanted.before, wanted.after)
    bounds = wanted.nanoseconds
    limit = ALL if found.stages or bounds else left
    with closed(store.search(selection, limit, wanted.direction)) as slices:
        for part in slices:
            check()
            lines: list[FoundLine] = []
            for place, stored in enumerate(part.lines):
                if place % CHECK_EVERY == 0:
                    check()
                if bounds and stored.position.nanoseconds not in bounds:
                    continue
                if record := pipeline.run(stored):
                    lines.append(found_line(stored, record))
                    left -= 1
                    if not left:
                        yield FoundSlice(lines, stored.position.at)
                        return
            yield FoundSlice(lines, part.reached)


async def joined(slices: AsyncGenerator[FoundSlice], limits: LogqlLimits) -> FoundSlice:
    """Return the slices of a search as one. Raises ``QueryError`` when they have too much text."""
    lines, missing, size, reached = list[FoundLine](), list[MissingLines](), 0, 0
    outside = None
    async with aclosing(slices):
        async for part in slices:
            lines += part.lines
            missing += part.missing
            reached, outside = part.reached, part.outside if outside is None else outside
            size += sum(len(line.text) for line in part.lines)
            limits.check_bytes(size)
    return FoundSlice(lines, reached, missing, outside)


def found_line(stored: StoredLine, record: Record) -> FoundLine:
    """Return a line as a pipeline left it."""
    return FoundLine(stored, record.text, record.stream, record.metadata, record.parsed)
