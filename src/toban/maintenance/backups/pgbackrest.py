"""Backups of pgBackRest, as `pgbackrest info --output=json` lists them."""

import asyncio
from datetime import UTC, datetime
from typing import Final

import orjson

from toban.core.child_process import Program
from toban.core.untyped_json import as_list, as_mapping
from toban.maintenance.backups.errors import BackupError, Problem
from toban.maintenance.backups.record import BackupRecord
from toban.shop.postgres_programs import environment

SECONDS: Final = 60.0
MAX_BYTES: Final = 16 * 2**20
WELL: Final = 0
"""The code of a stanza without problems: https://pgbackrest.org/command.html#command-info"""


async def backups(stanza: str, program: str = "pgbackrest") -> dict[str, list[BackupRecord]]:
    """Return the full backups and those that build on them, oldest first. Raises ``BackupError``."""
    said = bytearray()
    try:
        async with (
            asyncio.timeout(SECONDS),
            Program(program, f"--stanza={stanza}", "--output=json", "info", environment=environment()) as process,
        ):
            process.input.close()
            while piece := await process.output.read(65_536):
                said += piece
                if len(said) > MAX_BYTES:
                    raise BackupError(Problem.PLACE, "pgbackrest info prints more than 16 MiB")
            if await process.wait():
                raise BackupError(Problem.PLACE, f"pgbackrest info has failed: {process.errors[-300:]}")
    except TimeoutError:
        raise BackupError(Problem.PLACE, "pgbackrest info does not end") from None
    except OSError as error:
        remedy = "toban must run where pgBackRest is"
        raise BackupError(Problem.NO_PROGRAM, f"pgbackrest can't be run: {error.strerror}", remedy) from error
    return {f"pgBackRest {stanza}": parse(bytes(said), stanza)}


def parse(body: bytes, stanza: str) -> list[BackupRecord]:
    """Return the backups of a stanza, oldest first. Raises ``BackupError`` for one that pgBackRest finds wrong."""
    try:
        stanzas = [as_mapping(it) for it in as_list(orjson.loads(body))]
    except ValueError as error:
        raise BackupError(Problem.PLACE, "pgbackrest info does not print JSON") from error
    found = next((it for it in stanzas if it.get("name") == stanza), None)
    if found is None:
        raise BackupError(Problem.PLACE, f"pgBackRest has no stanza {stanza}")
    status = as_mapping(found.get("status"))
    if status.get("code") != WELL:
        raise BackupError(Problem.PLACE, f"pgBackRest says of {stanza}: {str(status.get('message'))[:200]}")
    records = []
    for it in map(as_mapping, as_list(found.get("backup"))):
        if it.get("error"):
            continue  # pages with wrong checksums: it is no backup to rely on
        stop, size = as_mapping(it.get("timestamp")).get("stop"), as_mapping(it.get("info")).get("size")
        if isinstance(stop, int) and 0 < stop < 10**11:
            # The size of the database: it is the same for full and incremental ones.
            time = datetime.fromtimestamp(stop, UTC)
            records.append(BackupRecord(str(it.get("label")), time, size if isinstance(size, int) else None))
    return sorted(records, key=lambda it: it.time)
