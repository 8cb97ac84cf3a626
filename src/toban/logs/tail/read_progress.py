"""How far log files are read, for whoever wants to move or compress one."""

import os
from collections.abc import Mapping, Sequence

from toban.logs.settings import LogFiles
from toban.logs.tail.found_files import SkippedFiles, Source, find_files
from toban.logs.tail.position import Position


class ReadProgress:
    """How far the files of some patterns were read when it was made; making it reads folders."""

    def __init__(self, settings: Sequence[LogFiles], cursors: Mapping[str, str], now: float) -> None:
        patterns = {it.path for it in settings}
        positions = filter(None, (Position.decoded(name, value) for name, value in cursors.items()))
        self._offsets = {it.key: it.offset for it in positions if it.pattern in patterns}
        found = find_files([Source(one, is_new=False) for one in settings], SkippedFiles())
        # A file that was old when it was seen first is never read.
        self._read = {
            key
            for key, it in found.items()
            if now - it.found.st_mtime <= it.source.settings.ignore_older.total_seconds()
        }

    def unread(self, found: os.stat_result) -> int:
        """Return how many bytes of a file will be read yet; 0 where it was read to its end, or never is."""
        key = found.st_dev, found.st_ino
        if key in self._offsets:
            return max(0, found.st_size - self._offsets[key])
        return found.st_size if key in self._read else 0
