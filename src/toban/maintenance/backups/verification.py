"""Reads whole archives: an archive whose header can be read may still be cut off."""

import asyncio
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Final

from toban.core.child_process import Program
from toban.maintenance.backups.archive import Archive
from toban.maintenance.backups.contents import ArchiveReader, DumpInspector
from toban.maintenance.backups.errors import BackupError, Problem
from toban.shop import postgres_programs

NO_PG_RESTORE: Final = "there is no pg_restore here: only its begin and its checksum were looked at"
END_SECONDS: Final = 60.0
"""Seconds that pg_restore may take after it was given everything."""


async def verify(archive: Archive, reader: ArchiveReader, pg_restore: Path | None) -> str:
    """
    Read an archive from begin to end; return what was checked.

    An archive in the custom format goes through pg_restore, which reads all of it and writes nothing. Raises
    ``BackupError``.
    """
    inspector = DumpInspector(archive.name)
    async with AsyncExitStack() as stack:
        process: Program | None = None
        async for piece in reader.pieces():
            is_first = not inspector.begin
            await asyncio.to_thread(inspector.update, piece)
            if is_first and inspector.is_custom and pg_restore:
                process = await stack.enter_async_context(_read_by(pg_restore))
            if process:
                # It may have ended early; what else is read tells why, by the checksum.
                with suppress(ConnectionError):
                    process.input.write(piece)
                    await process.input.drain()
        await asyncio.to_thread(inspector.finish)
        if process is None:
            return NO_PG_RESTORE if inspector.is_custom else "all of it can be read"
        process.input.close()
        try:
            async with asyncio.timeout(END_SECONDS):
                status = await process.wait()
        except TimeoutError:
            raise BackupError(Problem.DAMAGED, f"{archive.name}: pg_restore does not end") from None
        if status:
            raise restore_error(archive.name, process.errors)
    return "pg_restore has read all of it"


def _read_by(pg_restore: Path) -> Program:
    return Program(str(pg_restore), "--file", "/dev/null", environment=postgres_programs.environment())


def restore_error(name: str, errors: str) -> BackupError:
    """Return what pg_restore says about an archive."""
    lines = [it.removeprefix("pg_restore: ").removeprefix("error: ") for it in errors.splitlines()]
    said = next((it for it in lines if it), "pg_restore has failed")[:300]
    if "unsupported version" in errors:
        remedy = "install the client of the version that has written it, and name its folder in shop.pg_bin"
        return BackupError(Problem.OLD_CLIENT, f"{name}: pg_restore is too old for it: {said}", remedy)
    if "end of file" in errors:
        return BackupError(Problem.CUT_OFF, f"{name} is cut off: {said}", "use an older backup")
    return BackupError(Problem.DAMAGED, f"{name}: pg_restore can't read it: {said}", "use an older backup")
