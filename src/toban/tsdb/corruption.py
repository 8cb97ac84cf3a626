"""Damaged files: their error, their quarantine, and a log that a full disk can't stop."""

import os
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any, Final

import structlog

from toban.core.errors import StoreError

QUARANTINED: Final = ".broken"
"""Suffix of a quarantined file."""


class StoreLog:
    """The log of a store. A line that can't be written is dropped: the log may be on the same full disk."""

    def __init__(self, name: str) -> None:
        self._log = structlog.get_logger(name)

    def info(self, event: str, **fields: Any) -> None:
        """Log an event."""
        with suppress(OSError):
            self._log.info(event, **fields)

    def warning(self, event: str, **fields: Any) -> None:
        """Log a failure."""
        with suppress(OSError):
            self._log.warning(event, **fields)


log: Final = StoreLog("toban.tsdb")


class CorruptionError(StoreError):
    """Data on disk is not what was written."""


def quarantine(path: Path) -> Path:
    """Rename a damaged file, so that it is kept but not read; return its new path. Raises ``OSError``."""
    quarantined = quarantine_name(path)
    path.rename(quarantined)
    return quarantined


def quarantine_name(path: Path) -> Path:
    """Return an unused path under which a damaged file is kept."""
    names = (path.with_name(f"{path.name}{QUARANTINED}{number or ''}") for number in count())
    return next(name for name in names if not name.exists())


def fsync_folder(folder: Path) -> None:
    """Make created, renamed and removed files of a folder survive a power cut. Raises ``OSError``."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
