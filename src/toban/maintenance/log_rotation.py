"""
Compresses and deletes log files so that a crash at any moment leaves one complete copy. Synchronous: for a thread.

1. The compressed copy is written beside the file under a hidden name, read again, and synced.
2. It gets the file's mode, owner and time, and then its name.
3. The file is deleted.
"""

import fcntl
import gzip
import os
import signal
import stat
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import IO, Final

from toban.core.file_paths import ANY_DEPTH, WILDCARD, FilePaths
from toban.maintenance.task import StepSkippedError

SUFFIX: Final = ".gz"
UNFINISHED: Final = ".toban-gz"
"""Ends the hidden name of a copy that is being written."""
MAX_PATHS: Final = 10_000
"""Paths of one pattern that a run looks at."""
CHUNK: Final = 2**20
LEVEL: Final = 6


@dataclass(frozen=True, slots=True)
class LogFile:
    """A regular file that matches a pattern, as it was found."""

    path: str
    found: os.stat_result

    @property
    def is_compressed(self) -> bool:
        """Whether it is compressed already."""
        return self.path.endswith(SUFFIX)

    def is_same(self, now: os.stat_result) -> bool:
        """Return whether it is the same file still, with the same content."""
        was = self.found
        return (was.st_dev, was.st_ino, was.st_size, was.st_mtime_ns) == (
            *(now.st_dev, now.st_ino, now.st_size, now.st_mtime_ns),
        )


def find(pattern: str, unreadable: Callable[[str, OSError], None]) -> Iterator[LogFile]:
    """Yield the regular files of a pattern, and of the same with ``.gz``; symbolic links are not followed."""
    patterns = [pattern] if pattern.endswith(SUFFIX) else [pattern, f"{pattern}{SUFFIX}"]
    root = fixed_folder(pattern)
    seen = set[str]()
    for one in patterns:
        for number, path in enumerate(FilePaths(one, ()).find(unreadable)):
            if number >= MAX_PATHS:
                unreadable(pattern, OSError(f"more than {MAX_PATHS:,} files"))
                break
            if path in seen or is_behind_link(root, path):
                continue
            seen.add(path)
            try:
                found = os.lstat(path)
            except FileNotFoundError:
                continue
            except OSError as error:
                unreadable(path, error)
                continue
            if stat.S_ISREG(found.st_mode):
                yield LogFile(path, found)


def unfinished(pattern: str) -> Iterator[str]:
    """Yield the copies that a run which was interrupted has not finished."""
    hidden = str(PurePath(pattern).parent / f".*{UNFINISHED}")
    root = fixed_folder(pattern)
    for path in FilePaths(hidden, ()).find(lambda _path, _error: None):
        original = str(PurePath(path).with_name(PurePath(path).name[1:].removesuffix(UNFINISHED)))
        if FilePaths(pattern, ()).matches(original) and not is_behind_link(root, path):
            yield path


def fixed_folder(pattern: str) -> str:
    """Return the folder of a pattern in which wildcards begin."""
    parts = PurePath(pattern).parts[:-1]
    fixed = next((at for at, part in enumerate(parts) if WILDCARD.search(part) or part == ANY_DEPTH), len(parts))
    return str(PurePath(*parts[:fixed]))


def is_behind_link(root: str, path: str) -> bool:
    """Return whether a symbolic link leads to a path below a folder; the folder itself may be one."""
    folder = os.path.dirname(path)  # noqa: PTH120  # as text: nothing is resolved
    return os.path.realpath(folder) != os.path.realpath(root) + folder[len(root.rstrip("/")) :].rstrip("/")


def compress(file: LogFile, goes_on: Callable[[int], bool]) -> int:
    """
    Replace a file by its compressed copy; return the size of that.

    ``goes_on`` is called with the bytes that were read so far; where it returns False, nothing has changed. Raises
    ``StepSkippedError`` where the file must not be touched now, and ``OSError``.
    """
    target, name = PurePath(file.path + SUFFIX), PurePath(file.path).name
    with _opened(file) as (folder, source):
        if os.path.lexists(target):
            return _finish(file, folder, source, target.name, goes_on)
        temporary = f".{name}{UNFINISHED}"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        copy = os.open(temporary, flags, 0o600, dir_fd=folder)
        try:
            with os.fdopen(copy, "w+b") as out:
                _write(file, source, out, goes_on)
                size = os.fstat(out.fileno()).st_size
            os.rename(temporary, target.name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(temporary, dir_fd=folder)
            raise
        os.fsync(folder)
        _delete_original(file, folder, source)
        return size


def delete(file: LogFile) -> None:
    """Delete a file. Raises ``StepSkippedError`` where it is another one now, and ``OSError``."""
    with _opened(file) as (folder, source):
        _delete_original(file, folder, source)


@contextmanager
def _opened(file: LogFile) -> Iterator[tuple[int, int]]:
    """Open the folder and the file, and see that it is the one that was found and that nobody writes to it."""
    path = Path(file.path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            source = os.open(path.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
        except FileNotFoundError as error:
            raise StepSkippedError("it is gone") from error
        try:
            _check(file, source)
            yield folder, source
        finally:
            os.close(source)
    finally:
        os.close(folder)


def _check(file: LogFile, source: int) -> None:
    now = os.fstat(source)
    if not file.is_same(now):
        raise StepSkippedError("it has changed since it was looked at")
    if now.st_nlink > 1:
        raise StepSkippedError(f"it has {now.st_nlink} names (hard links)")
    if is_open_for_writing(source):
        raise StepSkippedError("a process has it open for writing")


def is_open_for_writing(file: int) -> bool:
    """
    Return whether some process has a file open for writing; False also where the system doesn't tell.

    Linux grants a read lease only where nobody has (fcntl(2), F_SETLEASE). It is given back at once.
    """
    if not hasattr(fcntl, "F_SETLEASE"):
        return False
    try:
        # Whoever opens it for writing meanwhile makes the system send a signal, by default one that ends the process.
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except BlockingIOError:
        return True
    except OSError:
        return False
    fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    return False


def _write(file: LogFile, source: int, out: IO[bytes], goes_on: Callable[[int], bool]) -> None:
    """Write the compressed copy, read it again, and give it the file's mode, owner and times."""
    read, checksum = 0, 0
    with gzip.GzipFile(filename="", mode="wb", fileobj=out, compresslevel=LEVEL, mtime=file.found.st_mtime) as packed:
        while chunk := os.pread(source, CHUNK, read):
            if not goes_on(read):
                raise StepSkippedError("it was cancelled")
            packed.write(chunk)
            read, checksum = read + len(chunk), zlib.crc32(chunk, checksum)
            if read > file.found.st_size:
                break  # somebody writes to it, perhaps faster than this reads
    out.flush()
    out.seek(0)
    if read != file.found.st_size or _content(out, read, goes_on) != (read, checksum):
        raise StepSkippedError("its copy is not the same: it has changed, or the disk is damaged")
    found = file.found
    try:
        os.fchown(out.fileno(), found.st_uid, found.st_gid)
    except PermissionError as error:
        raise StepSkippedError(f"its copy can't belong to its owner (user {found.st_uid})") from error
    os.fchmod(out.fileno(), stat.S_IMODE(found.st_mode))
    os.utime(out.fileno(), ns=(found.st_atime_ns, found.st_mtime_ns))
    os.fsync(out.fileno())


def _content(packed: IO[bytes], most: int, goes_on: Callable[[int], bool]) -> tuple[int, int]:
    """
    Return the length and the checksum of what a compressed file holds, up to a little more than ``most`` bytes.

    Raises ``OSError``, ``EOFError``.
    """
    length, checksum = 0, 0
    with gzip.GzipFile(fileobj=packed, mode="rb") as content:
        while chunk := content.read(CHUNK):
            if not goes_on(length):
                raise StepSkippedError("it was cancelled")
            length, checksum = length + len(chunk), zlib.crc32(chunk, checksum)
            if length > most:
                break
    return length, checksum


def _finish(file: LogFile, folder: int, source: int, target: str, goes_on: Callable[[int], bool]) -> int:
    """Delete a file whose compressed copy is there already, where that is complete: a crash came in between."""
    copy = os.open(target, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    with os.fdopen(copy, "rb") as packed:
        try:
            there = _content(packed, file.found.st_size, goes_on)
        except (OSError, EOFError, zlib.error) as error:
            raise StepSkippedError(f"{target} is there and can't be read: {error}") from error
        size = os.fstat(packed.fileno()).st_size
    read, checksum = 0, 0
    while read <= file.found.st_size and (chunk := os.pread(source, CHUNK, read)):
        read, checksum = read + len(chunk), zlib.crc32(chunk, checksum)
    if there != (read, checksum):
        raise StepSkippedError(f"{target} is there, with another content")
    _delete_original(file, folder, source)
    return size


def _delete_original(file: LogFile, folder: int, source: int) -> None:
    _check(file, source)
    name = PurePath(file.path).name
    now = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if (now.st_dev, now.st_ino) != (file.found.st_dev, file.found.st_ino):
        raise StepSkippedError("another file has its name now")
    os.unlink(name, dir_fd=folder)
    os.fsync(folder)
