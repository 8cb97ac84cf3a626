"""What has gone bad, and where it is put."""

import os
from itertools import count
from pathlib import Path
from typing import Final

from toban.core.errors import StoreError

BROKEN: Final = ".broken"
"""How the name of a file ends that was set aside."""


class DamageError(StoreError):
    """Something on disk is not what was written."""


def set_aside(path: Path) -> Path:
    """Rename a damaged file so that nobody reads it and nobody loses it; return its new name. Raises ``OSError``."""
    names = (path.with_name(f"{path.name}{BROKEN}{number or ''}") for number in count())
    free = next(name for name in names if not name.exists())
    path.rename(free)
    return free


def settle(folder: Path) -> None:
    """Make what was created, renamed or removed in a folder survive a power cut. Raises ``OSError``."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
