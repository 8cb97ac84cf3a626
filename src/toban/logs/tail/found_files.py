"""Finds log files on disk, and names those that are not read."""

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import islice
from pathlib import Path, PurePath
from typing import Final
from zoneinfo import ZoneInfo

from toban.core.file_paths import FilePaths
from toban.logs.line_parser import line_format
from toban.logs.settings import LogFiles
from toban.logs.tail.position import Position

MAX_PATHS: Final = 100_000
"""Paths that one search looks at."""

NUMBERING: Final = "0123456789-_"
"""What a date or a number at the end of a file's name consists of."""


class SkipReason(StrEnum):
    """Why a file that matches is not read."""

    UNREADABLE = "unreadable"
    NOT_REGULAR = "no regular file"
    OLD = "old"
    COPY = "copy"
    TOO_MANY = "too many files"


@dataclass(slots=True)
class SkippedFiles:
    """The paths that match and are not read, and why; ``errors`` are those of the ones that can't be read."""

    reasons: dict[str, SkipReason] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)

    def add_unreadable(self, path: str, error: OSError) -> None:
        """Add a file or a folder that can't be read."""
        self.reasons[path] = SkipReason.UNREADABLE
        self.errors[path] = error.strerror or str(error)


class Source:
    """The files of one pattern."""

    def __init__(self, settings: LogFiles, *, is_new: bool) -> None:
        self.settings = settings
        self.paths = FilePaths(settings.path, settings.exclude)
        self.formats = line_format(settings.format)
        self.zone = ZoneInfo(settings.timezone) if settings.timezone else None
        self.is_new = is_new


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file that was found, and the pattern that it belongs to."""

    source: Source
    path: str
    found: os.stat_result

    @property
    def position(self) -> Position:
        """The beginning of the file."""
        return Position(self.found.st_dev, self.found.st_ino, self.path, self.source.settings.path)


def find_files(sources: Sequence[Source], skipped: SkippedFiles) -> dict[tuple[int, int], FoundFile]:
    """Return the files that match, by device and inode; add what is no file or can't be read to ``skipped``."""
    matching: dict[tuple[int, int], FoundFile] = {}
    for source in sources:
        for number, path in enumerate(source.paths.find(skipped.add_unreadable)):
            if number >= MAX_PATHS:
                skipped.reasons[source.settings.path] = SkipReason.TOO_MANY
                break
            try:
                found = Path(path).stat()
            except FileNotFoundError:
                continue
            except OSError as error:
                skipped.add_unreadable(path, error)
                continue
            if stat.S_ISREG(found.st_mode):
                matching.setdefault((found.st_dev, found.st_ino), FoundFile(source, path, found))
            else:
                skipped.reasons[path] = SkipReason.NOT_REGULAR
    return matching


class FolderListings:
    """Where the files of some folders are now."""

    def __init__(self, skipped: SkippedFiles) -> None:
        self._skipped = skipped
        self._paths: dict[str, dict[int, str]] = {}

    def find(self, position: Position, source: Source) -> FoundFile | None:
        """Return where a file is in its folder, None when it is not there."""
        folder = position.folder
        if folder not in self._paths:
            self._paths[folder] = self._listed(folder)
        path = self._paths[folder].get(position.inode)
        if not path:
            return None
        try:
            found = Path(path).stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            self._skipped.add_unreadable(path, error)
            return None
        return FoundFile(source, path, found) if (found.st_dev, found.st_ino) == position.key else None

    def _listed(self, folder: str) -> dict[int, str]:
        try:
            with os.scandir(folder) as entries:
                return {entry.inode(): entry.path for entry in islice(entries, MAX_PATHS)}
        except FileNotFoundError:
            return {}
        except OSError as error:
            self._skipped.add_unreadable(folder, error)
            return {}


@contextmanager
def opened(new: FoundFile) -> Iterator[int]:
    """Open a file that was found. Raises ``FileNotFoundError`` when there is another one now, and ``OSError``."""
    file = os.open(new.path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    try:
        found = os.fstat(file)
        if (found.st_dev, found.st_ino) != new.position.key:
            raise FileNotFoundError(new.path)
        yield file
    finally:
        os.close(file)


def service_of(path: str) -> str:
    """Return the service that a file is named by: `server` for `server-2026-01-31.log`."""
    stem = PurePath(path).name.lstrip(".").split(".")[0]
    return stem.rstrip(NUMBERING) or stem
