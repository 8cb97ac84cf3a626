"""Taking back what the head's file holds, sound or not."""

import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from toban.core.errors import StoreError
from toban.core.samples import MetricFamily
from toban.tsdb.corruption import CorruptionError, log_corruption, quarantine_name, set_aside
from toban.tsdb.head import Head
from toban.tsdb.head_file import HeadFile, committed_frames
from toban.tsdb.series_index import SeriesIndex

Report = Callable[[CorruptionError], None]


def recover_head(
    path: Path, head: Head, index: SeriesIndex, families: dict[str, MetricFamily], report: Report, *, full: bool
) -> HeadFile:
    """
    Open the head's file and fill the head from it.

    Rows that are damaged are reported and moved aside within the file. A file that is damaged itself is read from
    both ends as far as it goes, set aside, and made anew from that by whoever writes next.
    Raises ``StoreError`` when there is no file to be had.
    """
    wal = path.with_name(f"{path.name}-wal")
    try:
        log_before = wal.read_bytes() if wal.exists() else b""
        try:
            file = HeadFile(path, full=full)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            return _anew(path, str(error), report, full=full)
        try:
            if committed_frames(log_before) > file.recovered():
                kept = quarantine_name(wal)
                kept.write_bytes(log_before)
                report(
                    CorruptionError(f"tsdb: {wal.name}: damaged; what stood behind the damage is in {kept.name} only")
                )
            trouble = file.check()
            _replay(file, path, head, index, families, report, salvage=bool(trouble))
        except BaseException:
            file.close()
            raise
        if not trouble:
            return file
        file.close()
        return _anew(path, trouble, report, full=full)
    except (sqlite3.Error, OSError) as error:
        raise StoreError(f"tsdb: opening {path}: {error}") from error


def _anew(path: Path, trouble: str, report: Report, *, full: bool) -> HeadFile:
    report(CorruptionError(f"tsdb: {path.name}: {trouble}"))
    log_corruption("the head's file is damaged and was set aside", file=str(set_aside(path)))
    for beside in ("-wal", "-shm"):
        with suppress(FileNotFoundError):  # SQLite removes them when it closes in order
            set_aside(path.with_name(path.name + beside))
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
    unsound: set[int] = set()
    lost = 0
    # A file with damaged pages is read as far as it goes, from the front and from the back; else errors go through.
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
            seen = head.turn
            for row, sound in file.read_rows(backwards=backwards):
                if backwards and row.turn <= seen:
                    break
                if not sound or not head.replay(row):
                    unsound.add(row.turn)
    if unsound or lost:
        report(CorruptionError(f"tsdb: {path.name}: {len(unsound)} rows and {lost} layouts or families are damaged"))
    if unsound and not salvage:
        file.set_aside(unsound)
