"""The data folder: private to its user, and used by one process."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

from toban.core.errors import SettingsError
from toban.core.paths import make_private

log = structlog.get_logger("toban.core")


@contextmanager
def lock_data_folder(folder: Path) -> Iterator[None]:
    """
    Create the data folder, and lock it for this process while the block runs.

    Raises ``SettingsError`` when it can't be written or another toban holds the lock.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(folder / "toban.lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise SettingsError(f"data: {folder}: {error.strerror}: choose another folder: --data") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        other = os.read(lock, 20).decode(errors="replace").strip()
        os.close(lock)
        raise SettingsError(
            f"data: {folder}: another toban runs there (process {other}): stop it, or choose another folder: --data"
        ) from error
    if exposed := make_private(folder):
        log.warning(
            "data folder accessible to other users",
            files=exposed[:5],
            remedy=f"chmod -R go= {folder}, or give toban a folder of its own: --data",
        )
    try:
        try:
            os.ftruncate(lock, 0)
            os.write(lock, f"{os.getpid()}\n".encode())
        except OSError as error:
            # The lock holds: on a full disk it only does not name its process.
            log.warning("process id not written to the lock", file=str(folder / "toban.lock"), error=error.strerror)
        yield
    finally:
        os.close(lock)
