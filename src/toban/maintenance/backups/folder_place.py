"""Backups in a folder."""

import errno
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

from toban.core.errors import ActionError
from toban.core.worker_thread import WorkerThread
from toban.maintenance.backups.errors import BackupError, Problem
from toban.maintenance.backups.place import MAX_FILES, PIECE, BackupPlace, FileWriter, StoredFile

T = TypeVar("T")

UNFINISHED: Final = ".unfinished"
"""What the names of files that are being written end with; they begin with a dot."""
NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class FolderPlace(BackupPlace):
    """A folder; a disk may hang, so each call is in a thread."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._thread = WorkerThread("backups", ActionError)

    @property
    def address(self) -> str:
        """The folder."""
        return str(self._folder)

    async def files(self) -> Sequence[StoredFile]:
        """Return the files in it."""
        return await self._do(self._list)

    async def read(self, name: str) -> AsyncIterator[bytes]:
        """Yield the pieces of a file."""
        file = await self._do(partial(self._open, name, "rb"))
        try:
            while piece := await self._do(partial(file.read, PIECE)):
                yield piece
        finally:
            file.close()

    @asynccontextmanager
    async def writer(self, name: str) -> AsyncIterator["_FolderWriter"]:
        """Open a new file under another name, which is given its own when it is complete."""
        unfinished = self._folder / f".{name}{UNFINISHED}"
        await self._do(partial(self._folder.mkdir, parents=True, exist_ok=True, mode=0o700))
        file = await self._do(partial(self._open, unfinished.name, "wb"))
        try:
            yield _FolderWriter(self._do, file, unfinished, self._folder / name)
        finally:
            file.close()
            with suppress(OSError):  # it was renamed, or `clean` removes it
                unfinished.unlink()

    async def delete(self, name: str) -> None:
        """Delete a file."""
        await self._do(partial((self._folder / name).unlink, missing_ok=True))

    async def clean(self, prefix: str) -> int:
        """Remove unfinished files."""

        def work() -> int:
            # The prefix is a setting without characters that a pattern gives a meaning.
            found = [*self._folder.glob(f".{prefix}-*{UNFINISHED}")]
            for path in found:
                path.unlink(missing_ok=True)
            return len(found)

        return await self._do(work)

    async def free(self) -> int | None:
        """Return the free bytes of its disk."""
        return await self._do(self._free)

    def _free(self) -> int | None:
        existing = next((it for it in (self._folder, *self._folder.parents) if it.exists()), None)
        return shutil.disk_usage(existing).free if existing else None

    def _list(self) -> list[StoredFile]:
        found = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or not entry.is_file():
                    continue
                with suppress(FileNotFoundError):
                    status = entry.stat()
                    found.append(StoredFile(entry.name, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC)))
                if len(found) > MAX_FILES:
                    raise BackupError(Problem.PLACE, f"{self._folder} has more than {MAX_FILES:,} files")
        return found

    def _open(self, name: str, mode: str) -> BinaryIO:
        path = self._folder / name
        flags = os.O_RDONLY if mode == "rb" else os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        file: BinaryIO = os.fdopen(os.open(path, flags | os.O_CLOEXEC, 0o600), mode, buffering=0)  # type: ignore[assignment]  # unbuffered
        return file

    async def _do(self, work: Callable[[], T]) -> T:
        try:
            return await self._thread.run(work)
        except OSError as error:
            raise _error(self._folder, error) from error


class _FolderWriter(FileWriter):
    def __init__(
        self, do: Callable[[Callable[[], None]], Awaitable[None]], file: BinaryIO, unfinished: Path, path: Path
    ) -> None:
        self._do = do
        self._file = file
        self._unfinished = unfinished
        self._path = path

    async def write(self, data: bytes) -> None:
        """Write another piece."""
        await self._do(partial(self._write, data))

    async def commit(self) -> None:
        """Write it to the disk, and give it its name."""
        await self._do(self._commit)

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]

    def _commit(self) -> None:
        os.fsync(self._file.fileno())
        self._unfinished.replace(self._path)
        handle = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _error(folder: Path, error: OSError) -> BackupError:
    if error.errno in NO_ROOM:
        return BackupError(Problem.DISK_FULL, f"{folder}: the disk is full", "make room, or keep fewer backups")
    reason = error.strerror.lower() if error.strerror else str(error)
    if isinstance(error, FileNotFoundError):
        return BackupError(Problem.PLACE, f"{error.filename or folder}: {reason}")
    if isinstance(error, PermissionError):
        return BackupError(Problem.PLACE, f"{error.filename or folder}: {reason}", "give it to the user of toban")
    return BackupError(Problem.PLACE, f"{folder}: {reason}")
