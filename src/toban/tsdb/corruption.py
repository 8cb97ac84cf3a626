"""What has gone bad, and where it is put."""

import os
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Final

import structlog

from toban.core.errors import StoreError

log = structlog.get_logger("toban.tsdb")

BROKEN: Final = ".broken"
"""How the name of a file ends that was set aside."""


def log_corruption(event: str, **facts: str | int) -> None:
    """Log trouble; a log that stands on the same full disk does not add to it."""
    with suppress(OSError):
        log.warning(event, **facts)


class CorruptionError(StoreError):
    """Something on disk is not what was written."""


def set_aside(path: Path) -> Path:
    """Rename a damaged file so that nobody reads it and nobody loses it; return its new name. Raises ``OSError``."""
    free = quarantine_name(path)
    path.rename(free)
    return free


def quarantine_name(path: Path) -> Path:
    """Return a free name for what is damaged of a file."""
    names = (path.with_name(f"{path.name}{BROKEN}{number or ''}") for number in count())
    return next(name for name in names if not name.exists())


def fsync_folder(folder: Path) -> None:
    """Make what was created, renamed or removed in a folder survive a power cut. Raises ``OSError``."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
