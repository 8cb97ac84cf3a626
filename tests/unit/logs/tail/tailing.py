"""A tail under the test's control: its files, its store, its clock, and its death."""

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from toban.core.errors import StoreError
from toban.core.log_line import LogLine
from toban.logs.settings import LogFiles
from toban.logs.tail.position import PREFIX, Position
from toban.logs.tail.reader import Batch, LogFileReader
from toban.logs.tail.tailed_file import HOLD

TOKEN = re.compile(r"<\d+>")


class FakeLineStore:
    """Stores lines and cursors in one transaction; raises ``error`` if there is one."""

    def __init__(self) -> None:
        self.lines: list[LogLine] = []
        self.values: dict[str, str] = {}
        self.error = ""

    def store(self, lines: Sequence[LogLine], cursors: Mapping[str, str]) -> None:
        if self.error:
            raise StoreError(self.error)
        self.lines.extend(lines)
        self.values.update(cursors)

    async def append(
        self, lines: Sequence[LogLine], source: str | list[str], cursors: Mapping[str, str] | None = None
    ) -> None:
        self.store(lines, cursors or {})

    async def cursors(self, prefix: str) -> Mapping[str, str]:
        if self.error:
            raise StoreError(self.error)
        return {name: value for name, value in self.values.items() if name.startswith(prefix)}

    async def forget_cursors(self, names: Sequence[str]) -> None:
        if self.error:
            raise StoreError(self.error)
        for name in names:
            del self.values[name]

    def write(self, lines: Sequence[LogLine]) -> None:
        raise AssertionError("a tail waits until its lines are stored")

    @property
    def messages(self) -> list[str]:
        return [line.message for line in self.lines]

    def tokens(self) -> Counter[str]:
        """Return how often each token was stored."""
        return Counter(
            token
            for line in self.lines
            for text in (line.message, line.trace, repr(dict(line.facts)))
            for token in TOKEN.findall(text)
        )


class Tailing:
    """Reads files of a folder by a pattern, step by step."""

    def __init__(self, folder: Path, pattern: str = "*.log", **settings: object) -> None:
        self.folder = folder
        self.settings = [LogFiles.model_validate({"path": str(folder / pattern), **settings})]
        self.store = FakeLineStore()
        self.now = 0.0
        self.counts = Counter[str]()
        self.reader = self._started()
        self._pending: Batch | None = None

    def path(self, name: str) -> Path:
        return self.folder / name

    def write(self, name: str, text: str | bytes) -> None:
        data = text.encode() if isinstance(text, str) else text
        with self.path(name).open("ab") as file:
            file.write(data)

    def look(self) -> bool:
        """Read once and store that; return whether there is more at once."""
        batch = self._pending or self.reader.read(self.now, self.clock)
        self._pending = batch
        try:
            self.store.store(batch.lines, batch.cursors)
        except StoreError:
            return False
        self._pending = None
        self.counts.update(batch.counts)
        for name in batch.forgotten:
            self.store.values.pop(name, None)
        return batch.has_more

    def looks(self) -> None:
        """Look until there is nothing more."""
        while self.look():
            pass

    def settle(self) -> None:
        """Look until everything is stored, also what waited for its rest."""
        assert not self.store.error
        for _ in range(5):
            self.looks()
            self.now += HOLD

    def kill(self) -> None:
        """End the tail without a word, and begin a new one from the cursors."""
        self.reader.close()
        self._pending = None
        self.reader = self._started()

    def read_and_kill(self) -> None:
        """Read a batch that is not stored any more."""
        self.reader.read(self.now, self.clock)
        self.kill()

    def knows(self, name: str) -> bool:
        """Return whether there is a cursor with a position in a file."""
        with self.path(name).open("rb") as file:
            found = os.fstat(file.fileno())
            cursor = f"{PREFIX}{found.st_dev}:{found.st_ino}"
            position = Position.decoded(cursor, self.store.values.get(cursor, ""))
            if not position or position.is_gone or Path(position.path).name != name:
                return False
            return position.offset <= found.st_size and position.is_in(file.fileno())

    @property
    def clock(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.now)

    def _started(self) -> LogFileReader:
        cursors = {name: value for name, value in self.store.values.items() if name.startswith(PREFIX)}
        return LogFileReader(self.settings, "here", cursors)
