"""Searches and counts lines: chunk by chunk, those first that may hold what comes first."""

import heapq
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, takewhile
from typing import Final

import numpy as np

from toban.core.log_line import LogStream
from toban.logs.line_store import Direction, LineSelection, SearchSlice, StoredLine, StreamCount
from toban.logs.store.block import Block
from toban.logs.store.chunk import Chunk, ChunkDeletedError, ChunkInfo, Column, Flags, Int64Array
from toban.logs.store.row_codec import valid
from toban.logs.store.signature import Terms, may_hold, trace_term
from toban.logs.store.text_matcher import FilterMatcher, all_match
from toban.tsdb.corruption import CorruptionError

SLICE_SECONDS: Final = 0.1
"""Seconds after which a search returns what it has found."""
SLICE_LINES: Final = 2_000
"""Lines of a slice, as a rule: a collection of garbage searches all lines that are in memory, and holds the loop."""


@dataclass(frozen=True, slots=True)
class HeadChunk:
    """A chunk of the head, or the lines of no chunk yet: then it has no signature."""

    info: ChunkInfo
    signature: bytes | None
    chunk: Callable[[], Chunk]


@dataclass(frozen=True, slots=True)
class StoreView:
    """All that a search reads: it stays as it is while the store changes."""

    blocks: tuple[Block, ...]
    head: tuple[HeadChunk, ...]


class Query:
    """A selection, prepared. Raises ``BadQueryError`` for an expression that is not valid."""

    def __init__(self, selection: LineSelection) -> None:
        self._selection = selection
        self.start, self.end = selection.start, selection.end
        if selection.before:
            self.end = min(self.end, selection.before.at + 1)
        if selection.after:
            self.start = max(self.start, selection.after.at)
        self._filters = [FilterMatcher(one) for one in selection.filters]
        self._required: list[Sequence[Terms]] = [
            one.alternatives for one in self._filters if one.alternatives is not None
        ]
        self._trace_id = valid(selection.trace_id)
        if self._trace_id:
            self._required.append([np.array([trace_term(self._trace_id)], np.uint64)])
        self._selected: dict[LogStream, bool] = {}

    def chunks(self, view: StoreView) -> list[Block | HeadChunk]:
        """Return what may hold lines of the selection."""
        blocks = [one for one in view.blocks if one.oldest < self.end and one.newest >= self.start]
        return [*blocks, *(one for one in view.head if self._may_be_in(one))]

    def chunks_of(self, block: Block) -> list[Chunk]:
        """Return the chunks of a block that may hold lines of the selection. Raises ``CorruptionError``."""
        index = block.index
        wanted = np.array([self._selects(stream) for stream in index.streams], np.bool_)
        some = (index.numbers[:, 2] < self.end) & (index.numbers[:, 3] >= self.start)
        some &= np.array([wanted[streams].any() for streams in index.chunk_streams], np.bool_)
        for alternatives in self._required:
            if some.any():
                some &= block.may_hold(alternatives)
        return [block.chunk(number) for number in np.flatnonzero(some).tolist()]

    def matching(self, chunk: Chunk) -> Int64Array:
        """Return the places of the lines that match, in the order of their numbers."""
        matching = self._in_range(chunk)
        selected = np.array([self._selects(stream) for stream in chunk.info.streams], np.bool_)
        matching &= selected[chunk.streams]
        if self._trace_id and matching.any():
            matching &= chunk.trace_ids.equal(self._trace_id)
        if self._filters and matching.any():
            rows = matching[chunk.order]
            for column in (Column.LOUD, Column.QUIET):
                part = chunk.part(column)
                if rows[part].any():
                    rows[part] = all_match(self._filters, chunk.text(column), rows[part])
            matching[chunk.order] = rows
        return np.flatnonzero(matching)

    def _in_range(self, chunk: Chunk) -> Flags:
        times = chunk.times
        inside = (times >= self.start) & (times < self.end)
        numbers = np.arange(chunk.info.first, chunk.info.first + chunk.info.count)
        if before := self._selection.before:
            inside &= (times < before.at) | (numbers < before.number)
        if after := self._selection.after:
            inside &= (times > after.at) | (numbers > after.number)
        return inside

    def _may_be_in(self, chunk: HeadChunk) -> bool:
        info, signature = chunk.info, chunk.signature
        return (
            info.oldest < self.end
            and info.newest >= self.start
            and any(map(self._selects, info.streams))
            and (
                signature is None
                or all(any(may_hold(signature, terms) for terms in alternatives) for alternatives in self._required)
            )
        )

    def _selects(self, stream: LogStream) -> bool:
        selected = self._selected.get(stream)
        if selected is None:
            selected = self._selected[stream] = self._selection.selects(stream)
        return selected


Pending = list[tuple[int, int, Block | HeadChunk | Chunk]]
"""A heap of what is still to be searched, that first which may hold the first line; the second number breaks ties."""


class StoreSearch:
    """One search: finds lines in order, though chunks overlap in time."""

    def __init__(self, query: Query, view: StoreView, limit: int, direction: Direction) -> None:
        self._query = query
        self._limit = limit
        self._backward = direction is Direction.BACKWARD
        self._ties = count()
        self._pending: Pending = []
        for one in query.chunks(view):
            self._push(one)
        self._found: list[StoredLine] = []
        """Lines that others may come before, in the order of the search."""

    def slices(self, monotonic: Callable[[], float]) -> Iterator[SearchSlice]:
        """Yield what is found, each 100 ms by a clock, or when it is many lines."""
        ready: list[StoredLine] = []
        began = monotonic()
        while self._pending and self._limit:
            self._search_next()
            lines = list(takewhile(self._is_next, self._found))
            self._found = self._found[len(lines) :]
            self._limit -= len(lines)
            ready += lines
            is_full = len(ready) >= SLICE_LINES or monotonic() - began >= SLICE_SECONDS
            if self._pending and self._limit and is_full:
                yield SearchSlice(ready, self._reached())
                ready, began = [], monotonic()
        if self._limit or not ready:
            yield SearchSlice(ready, self._query.start if self._backward else self._query.end)
        else:
            yield SearchSlice(ready, ready[-1].position.at)

    def _search_next(self) -> None:
        one = heapq.heappop(self._pending)[-1]
        try:
            if isinstance(one, Block):
                for chunk in self._query.chunks_of(one):
                    self._push(chunk)
                return
            chunk = one.chunk() if isinstance(one, HeadChunk) else one
            places = self._query.matching(chunk)
            if len(places) > self._limit:
                order = np.lexsort((places, chunk.times[places]))
                places = places[order[-self._limit :] if self._backward else order[: self._limit]]
            lines = chunk.lines(places) if len(places) else []
        except (CorruptionError, ChunkDeletedError):
            return  # reported where it was found; what is left is searched
        self._found = sorted([*self._found, *lines], key=lambda line: line.position, reverse=self._backward)
        del self._found[self._limit :]

    def _push(self, one: Block | HeadChunk | Chunk) -> None:
        info = one if isinstance(one, Block) else one.info
        key = -min(info.newest, self._query.end - 1) if self._backward else max(info.oldest, self._query.start)
        heapq.heappush(self._pending, (key, next(self._ties), one))

    def _is_next(self, line: StoredLine) -> bool:
        """Return whether no line that is still to be found comes before a line."""
        if not self._pending:
            return True
        key = self._pending[0][0]
        return line.position.at > -key if self._backward else line.position.at < key

    def _reached(self) -> int:
        key = self._pending[0][0]
        return 1 - key if self._backward else key


def count_lines(
    query: Query, view: StoreView, step: int, monotonic: Callable[[], float]
) -> Iterator[Sequence[StreamCount]]:
    """Yield counts by stream and step, each 100 ms by a clock."""
    counts: dict[tuple[LogStream, int], tuple[int, int]] = {}
    began = monotonic()
    for chunk in _each_chunk(query, view):
        try:
            places = query.matching(chunk)
            if len(places):
                _count(chunk, places, step, counts)
        except (CorruptionError, ChunkDeletedError):
            continue  # reported where it was found; what is left is counted
        if monotonic() - began >= SLICE_SECONDS:
            yield _stream_counts(counts)
            counts, began = {}, monotonic()
    yield _stream_counts(counts)


def _each_chunk(query: Query, view: StoreView) -> Iterator[Chunk]:
    for one in query.chunks(view):
        if isinstance(one, HeadChunk):
            yield one.chunk()
            continue
        try:
            chunks = query.chunks_of(one)
        except CorruptionError:
            continue
        while chunks:  # what is read of a chunk is kept as long as the chunk
            yield chunks.pop()


def _count(chunk: Chunk, places: Int64Array, step: int, counts: dict[tuple[LogStream, int], tuple[int, int]]) -> None:
    steps, which = np.unique(chunk.times[places] // step, return_inverse=True)
    streams = len(chunk.info.streams)
    keys = which * streams + chunk.streams[places]
    lines = np.bincount(keys)
    sizes = np.bincount(keys, chunk.sizes()[places])
    for key in np.flatnonzero(lines).tolist():
        at, stream = divmod(key, streams)
        counted = chunk.info.streams[stream], int(steps[at]) * step
        before = counts.get(counted, (0, 0))
        counts[counted] = before[0] + int(lines[key]), before[1] + int(sizes[key])


def _stream_counts(counts: dict[tuple[LogStream, int], tuple[int, int]]) -> list[StreamCount]:
    return [StreamCount(stream, at, lines, size) for (stream, at), (lines, size) in counts.items()]
