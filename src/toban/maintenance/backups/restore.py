"""Fetches an archive and restores it into the database of a drill."""

import os
import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from toban.core.child_process import Program
from toban.core.errors import ActionError
from toban.core.redaction import redact_text
from toban.core.worker_thread import WorkerThread
from toban.maintenance.backups.archive import Archive
from toban.maintenance.backups.contents import CUSTOM, GZIP, PLAIN, ArchiveReader
from toban.maintenance.backups.drill_database import DrillDatabase
from toban.maintenance.backups.errors import BackupError, Problem
from toban.maintenance.backups.folder_place import NO_ROOM
from toban.maintenance.backups.verification import restore_error
from toban.shop import postgres_programs

OPTIONS: Final = (
    "--exit-on-error", "--no-owner", "--no-privileges", "--no-comments", "--no-tablespaces", "--no-security-labels",
    # A subscription of the dump would connect to the live server.
    "--no-publications", "--no-subscriptions",
    "--jobs=2", "--no-password",
)  # fmt: skip  # a line for each reason
NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
MAX_CONTENTS: Final = 4 * 2**20
"""Bytes of a table of contents that are read: some ten thousand objects."""
EXTENSION: Final = re.compile(r"^\d+; \d+ \d+ EXTENSION - (\S+)", re.MULTILINE)
DATABASE: Final = re.compile(r"^;[ \t]+dbname: (\S+)", re.MULTILINE)


async def fetch(archive: Archive, reader: ArchiveReader, path: Path, progress: Callable[[int], None]) -> int:
    """Write the decrypted dump into a file; return its size. Raises ``BackupError``."""
    thread = WorkerThread("restore drill", ActionError)
    written, begin = 0, b""
    try:
        with os.fdopen(os.open(path, NEW_FILE, 0o600), "wb", buffering=0) as file:
            async for piece in reader.pieces():
                await thread.run(partial(_write, file.write, piece))
                begin, written = (begin + piece)[:100], written + len(piece)
                progress(written)
    except OSError as error:
        if error.errno in NO_ROOM:
            raise BackupError(Problem.DISK_FULL, f"{path.parent}: the disk is full", "set `scratch`") from error
        raise BackupError(Problem.PLACE, f"{path}: {error.strerror}") from error
    if not begin.startswith(CUSTOM):
        what = (
            "SQL" if begin.lstrip().startswith(PLAIN) else "compressed by gzip" if begin.startswith(GZIP) else "no dump"
        )
        remedy = "write it with `pg_dump --format=custom`"
        raise BackupError(Problem.NOT_A_DUMP, f"{archive.name} is {what}, which pg_restore can't restore", remedy)
    return written


def _write(write: Callable[[memoryview], int | None], piece: bytes) -> None:
    rest = memoryview(piece)
    while rest:
        rest = rest[write(rest) or 0 :]


class Restore:
    """Restores one dump, which is in a file, by pg_restore."""

    def __init__(self, archive: Archive, dump: Path, pg_restore: Path) -> None:
        self._archive = archive
        self._dump = dump
        self._pg_restore = pg_restore
        self._contents = ""

    async def read_contents(self) -> None:
        """Read the table of contents. Raises ``BackupError``."""
        self._contents = await self._run("--list", str(self._dump))

    @property
    def database(self) -> str:
        """The name of the database that was dumped."""
        found = DATABASE.search(self._contents)
        return found[1] if found else "of no name"

    @property
    def extensions(self) -> Sequence[str]:
        """The extensions that it wants."""
        return [it.strip('"') for it in EXTENSION.findall(self._contents)]

    async def run(self, database: DrillDatabase) -> None:
        """Restore it. Raises ``BackupError``."""
        for extension in self.extensions:
            await database.add_extension(extension)
        environment = postgres_programs.connection_environment(database.address)
        await self._run(*OPTIONS, f"--dbname={database.name}", str(self._dump), environment=environment)

    async def _run(self, *arguments: str, environment: dict[str, str] | None = None) -> str:
        """Run pg_restore; return what it prints."""
        found = environment or postgres_programs.environment()
        said = bytearray()
        try:
            async with Program(str(self._pg_restore), *arguments, environment=found) as process:
                process.input.close()
                while piece := await process.output.read(65_536):
                    said += piece[: MAX_CONTENTS - len(said)]
                if await process.wait():
                    raise self._error(process.errors)
        except OSError as error:
            raise BackupError(Problem.NO_PROGRAM, f"{self._pg_restore} can't be run: {error.strerror}") from error
        return bytes(said).decode("utf-8", "replace")

    def _error(self, errors: str) -> BackupError:
        """Return why it was not restored."""
        name = self._archive.name
        if "unsupported version" in errors or "end of file" in errors:
            return restore_error(name, errors)
        lines = [it.removeprefix("pg_restore: ").removeprefix("error: ") for it in errors.splitlines()]
        said = redact_text(next((it for it in lines if "ERROR:" in it), lines[0] if lines else "no reason"))[:300]
        if found := re.search(r'extension "([^"]{1,63})" is not available', errors):
            remedy = "name a server that has it in `server`"
            return BackupError(Problem.EXTENSION, f"the drill's PostgreSQL lacks the extension {found[1]}", remedy)
        if "No space left" in errors:
            return BackupError(Problem.DISK_FULL, "the disk of the drill is full", "set `scratch`")
        if "could not uncompress" in errors or "corrupt" in errors:
            return restore_error(name, errors)
        return BackupError(Problem.RESTORE, f"{name} can't be restored: {said}")
