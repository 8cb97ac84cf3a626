"""Recovery of the head from its file."""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from toban.core.errors import StoreError
from toban.core.samples import MetricFamily
from toban.tsdb.corruption import CorruptionError, log, quarantine, quarantine_name
from toban.tsdb.head import Head
from toban.tsdb.head_file import HeadFile, committed_frames
from toban.tsdb.series_index import SeriesIndex

Report = Callable[[CorruptionError], None]


def recover_head(
    path: Path, head: Head, index: SeriesIndex, families: dict[str, MetricFamily], report: Report, *, full: bool
) -> HeadFile:
    """
    Open the head's file and replay it into the head.

    Damaged rows are reported and quarantined within the file. A file whose pages are damaged is read from both ends as
    far as possible and quarantined; the writer then rebuilds it from memory. Raises ``StoreError`` when no file can be
    opened or created.
    """
    wal = path.with_name(f"{path.name}-wal")
    try:
        log_before = wal.read_bytes() if wal.exists() else b""
        try:
            file = HeadFile(path, full=full)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            return _quarantined(path, str(error), report, full=full)
        try:
            if committed_frames(log_before) > file.recovered_frames():
                kept = quarantine_name(wal)
                kept.write_bytes(log_before)
                report(
                    CorruptionError(
                        f"tsdb: {wal.name}: damaged; what was committed behind the damage is in {kept.name} only"
                    )
                )
            damage = file.check()
            _replay(file, path, head, index, families, report, salvage=bool(damage))
        except BaseException:
            file.close()
            raise
        if not damage:
            return file
        file.close()
        return _quarantined(path, damage, report, full=full)
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"tsdb: opening {path}: {error}") from error


def _quarantined(path: Path, damage: str, report: Report, *, full: bool) -> HeadFile:
    """Quarantine a damaged file, and return a new one."""
    report(CorruptionError(f"tsdb: {path.name}: {damage}"))
    log.warning("damaged head file quarantined", file=str(quarantine(path)))
    for suffix in ("-wal", "-shm"):
        with suppress(FileNotFoundError):  # SQLite removes them when it closes in order
            quarantine(path.with_name(path.name + suffix))
    return HeadFile(path, full=full)


def _replay(
    file: HeadFile,
    path: Path,
    head: Head,
    index: SeriesIndex,
    families: dict[str, MetricFamily],
    report: Report,
    *,
    salvage: bool,
) -> None:
    damaged: set[int] = set()
    lost = 0
    # A file with damaged pages is read as far as possible, forwards and backwards; without damage, errors are raised.
    expected = (sqlite3.DatabaseError,) if salvage else ()
    with suppress(*expected):
        for number, series in file.read_layouts():
            if series is None:
                lost += 1
            else:
                head.restore(number, index.add(series))
    with suppress(*expected):
        for family in file.read_families():
            if family:
                families[family.name] = family
            else:
                lost += 1
    for backwards in (False, True) if salvage else (False,):
        with suppress(*expected):
            replayed = head.sequence
            for row, intact in file.read_rows(backwards=backwards):
                if backwards and row.sequence <= replayed:
                    break
                if not intact or not head.replay(row):
                    damaged.add(row.sequence)
    if damaged or lost:
        report(CorruptionError(f"tsdb: {path.name}: {len(damaged)} rows and {lost} layouts or families are damaged"))
    if damaged and not salvage:
        file.quarantine(damaged)
