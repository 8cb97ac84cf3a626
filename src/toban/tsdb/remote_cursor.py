"""A cursor over all appended batches, in order of arrival, for remote write."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from toban.core.errors import StoreError
from toban.core.number_format import format_bytes
from toban.core.samples import Batch
from toban.tsdb.corruption import CorruptionError
from toban.tsdb.head import Head
from toban.tsdb.remote_backlog import RemoteBacklog

BACKLOG_BATCHES: Final = 200
"""Batches that are read from the backlog at once."""


class RemoteCursor:
    """
    A cursor over all batches: those of the head, and those that the head dropped before they were sent.

    The latter wait in the backlog, ``size`` bytes at most. Samples beyond that size or the retention are dropped, and
    counted as ``dropped``.
    """

    def __init__(self, head: Head, path: Path, size: int, report: Callable[[CorruptionError], None]) -> None:
        self.dropped = 0
        self._head = head
        self._size = size
        self._backlog = RemoteBacklog(path, report)
        self._committed = 0

    def open(self) -> None:
        """Restore the last commit; sequence numbers continue from there. Raises ``StoreError``."""
        with suppress(StoreError):
            self._backlog.committed_sequence()  # quarantines a damaged file; the next line creates another
        self._committed, highest = self._backlog.committed_sequence(), self._backlog.highest_sequence()
        self._head.sequence = max(self._head.sequence, highest, self._committed)
        self._head.dropped_sequence = max(self._head.dropped_sequence, highest)

    def close(self) -> None:
        """Close the file."""
        self._backlog.close()

    def pending(self, samples: int) -> list[tuple[int, Batch]]:
        """
        Return the oldest batches that were not sent, with their sequence numbers.

        They hold some ``samples``, and are at least one if there is one.

        Raises ``StoreError``.
        """
        # The head before the backlog: what is moved in between is then read twice, never missed.
        after = self._committed
        batches = dict(self._head.batches_after(after, samples))
        if self._head.dropped_sequence > after:
            stored = self._backlog.batches_after(after, BACKLOG_BATCHES)
            if len(stored) == BACKLOG_BATCHES:
                # The backlog has more behind these, which come before later batches of the head.
                last = stored[-1][0]
                batches = {sequence: batch for sequence, batch in batches.items() if sequence <= last}
            batches.update(stored)
        oldest = []
        for sequence in sorted(batches):
            if samples <= 0:
                break
            oldest.append((sequence, batches[sequence]))
            samples -= len(batches[sequence].layout)
        return oldest

    def commit(self, sequence: int) -> None:
        """
        Commit that all batches up to a sequence number were sent.

        Effective at once. Raises ``StoreError`` when it can't be stored: after a crash some batches are sent again.
        """
        self._committed = max(self._committed, sequence)
        self._backlog.commit(self._committed)

    def copy_unsent(self, start: int, end: int) -> None:
        """Copy unsent rows of ``start`` ≤ time < ``end`` from the head to the backlog. Raises ``StoreError``."""
        unsent = [row for row in self._head.rows(start, end) if row.sequence > self._committed]
        if unsent:
            self._backlog.append(unsent, self._head.layout)

    def notes(self) -> list[str]:
        """Return what waits to be sent and what was dropped, as sentences. Raises ``StoreError``."""
        notes, size = [], self._backlog.size()
        if behind := self._head.sequence - self._committed:
            notes.append(f"{behind:,} batches wait for remote write")
        if size:
            notes.append(
                f"its backlog has {format_bytes(size)} of {format_bytes(self._size)}: then the oldest are dropped"
            )
        if self.dropped:
            notes.append(f"{self.dropped:,} samples were dropped before they were sent")
        return notes

    def truncate(self, oldest: int) -> None:
        """Drop what is older than a time (milliseconds) or exceeds the size. Raises ``StoreError``."""
        self.dropped += self._backlog.truncate(self._size, oldest)
