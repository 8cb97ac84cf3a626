"""What was appended, in the order in which it came, for one reader who passes it on."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from toban.core.errors import StoreError
from toban.core.samples import Batch
from toban.tsdb.corruption import CorruptionError
from toban.tsdb.head import Head
from toban.tsdb.remote_backlog import RemoteBacklog

AT_ONCE: Final = 200
"""How many batches are brought from the file at once."""


class RemoteCursor:
    """
    A cursor over all batches: those of the head, and those that the head let go of before they were passed on.

    The latter wait in a file, ``size`` bytes at most; what goes beyond, or gets older than the store keeps numbers, is
    counted in samples as ``dropped``.
    """

    def __init__(self, head: Head, path: Path, size: int, report: Callable[[CorruptionError], None]) -> None:
        self.dropped = 0
        self._head = head
        self._size = size
        self._backlog = RemoteBacklog(path, report)
        self._passed = 0

    def open(self) -> None:
        """Find out how far the reader got; turns go on from there. Raises ``StoreError``."""
        with suppress(StoreError):
            self._backlog.committed_turn()  # a file that is damaged is set aside now, and made anew below
        self._passed, newest = self._backlog.committed_turn(), self._backlog.newest()
        self._head.turn = max(self._head.turn, newest, self._passed)
        self._head.gone = max(self._head.gone, newest)

    def close(self) -> None:
        """Close the file."""
        self._backlog.close()

    def pending(self, samples: int) -> list[tuple[int, Batch]]:
        """
        Return the oldest batches that were not passed on, with their turns: some ``samples``, and at least one batch.

        Raises ``StoreError``.
        """
        # The head before the file: what is moved in between is then seen twice, never not at all.
        after = self._passed
        batches = dict(self._head.after(after, samples))
        if self._head.gone > after:
            stored = self._backlog.after(after, AT_ONCE)
            if len(stored) == AT_ONCE:
                # More lies in the file behind these, and comes before what the head has of later turns.
                last = stored[-1][0]
                batches = {turn: batch for turn, batch in batches.items() if turn <= last}
            batches.update(stored)
        found = []
        for turn in sorted(batches):
            if samples <= 0:
                break
            found.append((turn, batches[turn]))
            samples -= len(batches[turn].layout)
        return found

    def commit(self, turn: int) -> None:
        """
        Note that all batches up to a turn were passed on.

        It counts at once. Raises ``StoreError`` when it can't be written down: after a crash some come once more.
        """
        self._passed = max(self._passed, turn)
        self._backlog.commit(self._passed)

    def keep(self, start: int, end: int) -> None:
        """Keep what the head has from ``start`` up to before ``end`` and was not passed on. Raises ``StoreError``."""
        wait = [row for row in self._head.rows(start, end) if row.turn > self._passed]
        if wait:
            self._backlog.append(wait, self._head.layout)

    def truncate(self, oldest: int) -> None:
        """Let go of what is older than a time (milliseconds), or too much. Raises ``StoreError``."""
        self.dropped += self._backlog.truncate(self._size, oldest)
