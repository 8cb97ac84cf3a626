"""One folder of files."""

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final, Literal

from pydantic import PrivateAttr

from toban.collect import backups
from toban.collect.aside import Aside
from toban.collect.collector import Collector
from toban.collect.tools import Tools
from toban.core.errors import CollectError
from toban.core.samples import Sample, gauge
from toban.core.section import Duration

BYTES: Final = gauge("folder_size_bytes", "Space that the files' contents take.", "bytes")
COUNT: Final = gauge("folder_files", "Files there are.")
NEWEST: Final = gauge(
    "folder_newest_timestamp_seconds", "When the newest file was changed, since the epoch.", "seconds"
)


@dataclass(slots=True)
class Tally:
    """What was found in a folder."""

    bytes: int = 0
    count: int = 0
    newest: float = 0.0

    def add(self, facts: os.stat_result) -> None:
        """Add a file."""
        self.bytes += facts.st_size
        self.count += 1
        self.newest = max(self.newest, facts.st_mtime)


class Files(Collector):
    """
    Add up a folder: how many files, how large, how new the newest.

    For asset storage (has it stopped growing, is it exploding?) and, with `backup`, for folders of backups. Links are
    not followed.
    """

    kind: Literal["files"] = "files"

    path: Path
    """The folder."""

    backup: Duration | None = None
    """That these are backups, and how old the newest may be: `26h` for one a day."""

    every: Duration = timedelta(minutes=2)

    _aside: Aside = PrivateAttr(default_factory=Aside)

    @property
    def looks_at(self) -> str:
        """The folder."""
        return str(self.path)

    async def collect(self, tools: Tools) -> Iterable[Sample]:
        """Walk through the folder, aside: a disk may be slow."""
        until = time.monotonic() + 0.8 * self.every.total_seconds()
        try:
            found = await self._aside.do(partial(tally, self.path, until))
        except OSError as error:
            raise CollectError(f"files {self.name}: {error.filename or self.path}: {error.strerror}") from error
        samples = [BYTES.sample(found.bytes), COUNT.sample(found.count)]
        if self.backup:
            samples += [backups.NEWEST.sample(found.newest), backups.LIMIT.sample(self.backup.total_seconds())]
        return [*samples, NEWEST.sample(found.newest)] if found.count else samples


def tally(folder: Path, until: float) -> Tally:
    """
    Add up a folder and all in it.

    Raises ``OSError`` when it can't be read, and ``TimeoutError`` when it takes beyond ``until`` (monotonic seconds).
    """
    found, waiting = Tally(), [str(folder)]
    while waiting:
        inside = waiting.pop()
        # What is removed while toban walks is no trouble; that the folder itself is missing is.
        forgiven = () if inside == str(folder) else (FileNotFoundError,)
        with suppress(*forgiven), os.scandir(inside) as entries:
            for entry in entries:
                if time.monotonic() > until:
                    raise TimeoutError(0, f"{found.count} files counted when time was up: raise `every`")
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    with suppress(FileNotFoundError):
                        found.add(entry.stat(follow_symlinks=False))
    return found
