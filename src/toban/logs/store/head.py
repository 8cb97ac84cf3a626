"""The head: the lines that are not in a block, partly in memory, all of them durable in its file."""

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Final

from toban.core.errors import StoreError
from toban.core.log_line import LogLine, LogStream
from toban.core.samples import milliseconds
from toban.logs.store.block import BlockName
from toban.logs.store.block_writer import PackedChunk
from toban.logs.store.chunk import CHUNK_BYTES, CHUNK_LINES, ChunkInfo, Column, OpenChunk, StoredChunk
from toban.logs.store.head_file import DAY, EncodedLine, HeadFile, LineBatch
from toban.logs.store.row_codec import encode_row, valid
from toban.logs.store.search import HeadChunk
from toban.logs.store.signature import sign
from toban.tsdb.corruption import CorruptionError

LAST_TIME: Final = 253_402_300_799_999
"""The last time that a line may have: milliseconds, at the end of the year 9999."""


class HeadDamagedError(StoreError):
    """The head's file is damaged: it must be opened anew."""


ReadColumn = Callable[[int, Column], bytes]
"""Reads a column of the chunk with a first number."""


class OpenLines:
    """Lines of no complete chunk. Who knows how many there were reads these without a lock: more are only added."""

    def __init__(self, first: int) -> None:
        self.first = first
        self._size = 0
        self._times: list[int] = []
        self._streams: list[LogStream] = []
        self._rows: list[bytes] = []
        self._trace_ids: list[str] = []
        self._chunk: OpenChunk | None = None

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def is_complete(self) -> bool:
        """Whether they fill a chunk."""
        return len(self._rows) >= CHUNK_LINES or self._size >= CHUNK_BYTES

    def add(self, line: EncodedLine, stream: LogStream) -> None:
        """Add a line."""
        at, _, trace_id, text = line
        row = text.encode()
        self._times.append(at)
        self._streams.append(stream)
        self._rows.append(row)
        self._trace_ids.append(trace_id)
        self._size += len(row)

    def truncate(self, count: int) -> None:
        """Keep only the first lines: the others were not stored."""
        self._size -= sum(map(len, self._rows[count:]))
        for column in (self._times, self._streams, self._rows, self._trace_ids):
            del column[count:]

    def chunk(self, count: int) -> OpenChunk:
        """Return the first lines as a chunk."""
        chunk = self._chunk
        if chunk is None or chunk.info.count != count:
            chunk = self._chunk = OpenChunk(
                self.first, self._times[:count], self._streams[:count], self._rows[:count], self._trace_ids[:count]
            )
        return chunk

    def pack(self) -> PackedChunk:
        """Return what is stored of them as a chunk."""
        chunk = self.chunk(len(self))
        texts = [chunk.data(column) for column in (Column.LOUD, Column.QUIET)]
        return chunk.info, chunk.pack(), sign(texts, self._trace_ids)


class Head:
    """
    What is not in a block. One thread changes it; ``chunks`` may be called by any.

    Its methods raise ``StoreError`` when the file can't be written or read; then nothing has changed. ``moved`` reads a
    column of a chunk that is in a block by now.
    """

    def __init__(self, file: HeadFile, moved: ReadColumn, report: Callable[[CorruptionError], None]) -> None:
        self.file = file
        self.next_number = 1
        self._moved = moved
        self._report = report
        self._chunks: tuple[HeadChunk, ...] = ()
        self._open = OpenLines(1), 0
        self._damaged: set[int] = set()

    def restore(self, next_number: int) -> None:
        """Read the file. No line outside of it has the number ``next_number``, nor any after it."""
        with _errors("reading"):
            self.next_number = next_number
            chunks = []
            for first, info, signature in list(self.file.read_chunks()):
                self.next_number = max(self.next_number, info.last + 1 if info else first + CHUNK_LINES)
                if info:
                    chunks.append(self._stored(info, signature))
                else:
                    self._drop(first)
            self._chunks = tuple(chunks)
            for first, batch in list(self.file.read_batches()):
                self.next_number = max(self.next_number, first + (len(batch.lines) if batch else CHUNK_LINES))
                if batch:
                    self._restore_batch(batch)
                else:
                    self._drop(first)
            damaged = self.file.damaged_cursors()
            for name in damaged:
                self._report(CorruptionError(f"logs: head.db: the cursor {name!r} is damaged"))
            self.file.forget_cursors(damaged)

    def chunks(self) -> tuple[HeadChunk, ...]:
        """Return what is in the head now."""
        # Read before the chunks: lines that become one in between are found twice rather than not at all.
        lines, count = self._open
        chunks = self._chunks
        if not count or (chunks and chunks[-1].info.first >= lines.first):
            return chunks
        chunk = lines.chunk(count)
        return (*chunks, HeadChunk(chunk.info, None, lambda: chunk))

    def complete(self) -> tuple[HeadChunk, ...]:
        """Return the complete chunks."""
        return self._chunks

    def append(self, lines: Sequence[LogLine], cursors: Mapping[str, str]) -> int:
        """Store lines and cursors in one transaction; return the number of the first line."""
        first, (target, kept) = self.next_number, self._open
        before, packed = target, list[PackedChunk]()
        if target.first + kept != first:
            packed += [target.pack()] if kept else []
            target = OpenLines(first)
        batch = LineBatch(first, [], [])
        places: dict[LogStream, int] = {}
        try:
            for number, line in enumerate(lines, first + 1):
                stream = line.stream
                if stream not in places:
                    places[stream] = len(batch.streams)
                    batch.streams.append(LogStream(*map(valid, stream)))
                encoded = encode(line, places[stream])
                batch.lines.append(encoded)
                target.add(encoded, batch.streams[places[stream]])
                if target.is_complete:
                    packed.append(target.pack())
                    target, batch, places = OpenLines(number), LineBatch(number, [], []), {}
            with _errors("writing"):
                self.file.write(packed, batch, _valid(cursors), first + len(lines))
        except BaseException:
            before.truncate(kept)
            raise
        self._add(packed)
        self._open = target, len(target)
        self.next_number = first + len(lines)
        return first

    def complete_open(self) -> None:
        """Make a chunk of the lines of no complete chunk."""
        lines, count = self._open
        if count:
            packed = lines.pack()
            with _errors("writing"):
                self.file.write([packed], LineBatch(self.next_number, [], []), {}, self.next_number)
            self._add([packed])
            self._open = OpenLines(self.next_number), 0

    def packed(self, chunks: Sequence[HeadChunk]) -> Iterator[PackedChunk]:
        """Yield what is stored of some chunks; damaged ones are reported and left out."""
        for chunk in chunks:
            try:
                columns = [self._column(chunk.info.first, column) for column in Column]
            except CorruptionError:
                continue
            yield chunk.info, columns, chunk.signature or b""

    def drop(self, chunks: Sequence[HeadChunk]) -> None:
        """Remove chunks from memory: they are in a block."""
        self._chunks = tuple(chunk for chunk in self._chunks if chunk not in chunks)

    def remove(self, name: BlockName) -> None:
        """Remove the lines of a block from the file."""
        with _errors("writing"):
            self.file.remove(*name)

    def shrink(self) -> None:
        """Return free pages of the file to the disk."""
        with _errors("writing"):
            self.file.shrink()

    def day(self, today: int) -> int:
        """Return the day (since the epoch) that is not sealed, today by default."""
        with _errors("reading"):
            day = self.file.number(DAY)
        if day is None:
            self.set_day(today)
        return today if day is None else day

    def set_day(self, day: int) -> None:
        """Keep the day that is not sealed."""
        with _errors("writing"):
            self.file.set_number(DAY, day)

    def cursor(self, name: str) -> str:
        """Return a cursor, empty where there is none."""
        with _errors("reading"):
            return self.file.cursor(valid(name)) or ""

    def cursors(self) -> Mapping[str, str]:
        """Return all cursors."""
        with _errors("reading"):
            return self.file.cursors()

    def forget_cursors(self, names: Sequence[str]) -> None:
        """Delete cursors."""
        with _errors("writing"):
            self.file.forget_cursors(map(valid, names))

    def _restore_batch(self, batch: LineBatch) -> None:
        lines, count = self._open
        if lines.first + count != batch.first:
            if count:
                # Lines before were damaged: the numbers of a chunk have no gap.
                packed = lines.pack()
                self.file.write([packed], LineBatch(batch.first, [], []), {}, self.next_number)
                self._add([packed])
            lines = OpenLines(batch.first)
        for line in batch.lines:
            lines.add(line, batch.streams[line[1]])
        self._open = lines, len(lines)

    def _add(self, packed: Sequence[PackedChunk]) -> None:
        self._chunks = (*self._chunks, *(self._stored(info, signature) for info, _, signature in packed))

    def _stored(self, info: ChunkInfo, signature: bytes) -> HeadChunk:
        return HeadChunk(info, signature, partial(StoredChunk, info, partial(self._column, info.first)))

    def _column(self, first: int, column: Column) -> bytes:
        with _errors("reading"):
            found = self.file.column(first, column)
        if found is None:
            return self._moved(first, column)
        data, intact = found
        if intact:
            return data
        damage = CorruptionError(f"logs: head.db: a column of the chunk from line {first} on is damaged")
        if first not in self._damaged:
            self._damaged.add(first)
            self._report(damage)
        raise damage

    def _drop(self, first: int) -> None:
        """Remove damaged lines from the file."""
        self._report(CorruptionError(f"logs: head.db: the lines from {first} on are damaged"))
        self.file.remove(first, first)


def encode(line: LogLine, stream: int) -> EncodedLine:
    """Return a line as it is stored in a batch."""
    return min(milliseconds(line.at), LAST_TIME), stream, valid(line.trace_id), encode_row(line)


def _valid(cursors: Mapping[str, str]) -> dict[str, str]:
    return {valid(name): valid(value) for name, value in cursors.items()}


@contextmanager
def _errors(doing: str) -> Iterator[None]:
    """Raise SQLite's errors as ``StoreError``; one of a file that is damaged as ``HeadDamagedError``."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StoreError(f"logs: {doing} head.db: {error}") from error
    except sqlite3.DatabaseError as error:
        raise HeadDamagedError(f"logs: {doing} head.db: {error}") from error
