"""Opens the head's file, and recovers what is intact of a damaged one."""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from toban.core.errors import StoreError
from toban.logs.store.block import SUFFIX, BlockName
from toban.logs.store.head_file import NEXT_NUMBER, HeadFile
from toban.tsdb.corruption import QUARANTINED, CorruptionError, StoreLog, quarantine, quarantine_name
from toban.tsdb.head_file import committed_frames

log: Final = StoreLog("toban.logs")

NUMBERS_SKIPPED: Final = 2**24
"""Numbers that are skipped after damage: the head had fewer lines than that."""


def open_head_file(
    path: Path, report: Callable[[CorruptionError], None], now: int, *, full: bool
) -> tuple[HeadFile, int]:
    """
    Open the head's file; return it, and the next number as far as its lines don't show it.

    A damaged file is quarantined, and what is intact of it copied. No number is given twice then: the next one is far
    beyond the last block, and beyond the milliseconds since the epoch (``now``), as no store has more lines than these.
    Raises ``StoreError`` when no file can be opened or created.
    """
    try:
        file, damaged = _open(path, report, full=full)
        try:
            last = max((name.last for name in _block_names(path.parent)), default=0)
            number = file.number(NEXT_NUMBER)
            is_first = number is None and not last and not any(path.parent.glob(f"{path.name}{QUARANTINED}*"))
            if not is_first and (damaged or number is None):
                number = max(last + NUMBERS_SKIPPED, now, number or 0)
            number = max(number or 1, last + 1)
            file.set_number(NEXT_NUMBER, number)
        except BaseException:
            file.close()
            raise
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"logs: opening {path}: {error}") from error
    return file, number


def _open(path: Path, report: Callable[[CorruptionError], None], *, full: bool) -> tuple[HeadFile, bool]:
    """Open the file, and return whether it was damaged."""
    wal = path.with_name(f"{path.name}-wal")
    log_before = wal.read_bytes() if wal.exists() else b""
    try:
        file = HeadFile(path, full=full)
    except sqlite3.DatabaseError as error:
        # "unsupported file format" is an operational error too, without a name of its own.
        if isinstance(error, sqlite3.OperationalError) and error.sqlite_errorname != "SQLITE_ERROR":
            raise
        return _salvaged(path, str(error), report, full=full), True
    try:
        cut = committed_frames(log_before) > file.recovered_frames()
        if cut:
            kept = quarantine_name(wal)
            kept.write_bytes(log_before)
            report(
                CorruptionError(f"logs: {wal.name}: damaged; what was committed behind the damage is in {kept.name}")
            )
        damage = file.check()
    except BaseException:
        file.close()
        raise
    if not damage:
        return file, cut
    file.close()
    return _salvaged(path, damage, report, full=full), True


def _salvaged(path: Path, damage: str, report: Callable[[CorruptionError], None], *, full: bool) -> HeadFile:
    """Quarantine a damaged file; return a new one with what can be read of it."""
    report(CorruptionError(f"logs: {path.name}: {damage}"))
    damaged = quarantine(path)
    log.warning("damaged head file quarantined", file=str(damaged))
    for suffix in ("-wal", "-shm"):
        with suppress(FileNotFoundError):  # SQLite removes them when it closes in order
            path.with_name(path.name + suffix).rename(damaged.with_name(damaged.name + suffix))
    file = HeadFile(path, full=full)
    file.salvage(damaged)
    return file


def _block_names(folder: Path) -> list[BlockName]:
    """Return the names of all blocks, quarantined ones too."""
    names = []
    for path in folder.glob(f"*{SUFFIX}*"):
        with suppress(ValueError):  # not a block
            names.append(BlockName.of(path))
    return names
