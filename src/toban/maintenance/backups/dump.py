"""Dumps the shop's database into a place: piece by piece, nothing of it touches this machine's disk."""

import asyncio
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from toban.core.age_file import Encryptor
from toban.core.age_keys import Passphrase, Recipient, X25519Recipient
from toban.core.child_process import Program
from toban.core.ports import Clock
from toban.core.redaction import redact_text
from toban.maintenance.backups.archive import MANIFEST, Manifest, archive_name
from toban.maintenance.backups.errors import BackupError, Problem
from toban.maintenance.backups.place import PIECE, BackupPlace, FileWriter
from toban.shop import postgres_programs
from toban.shop.backup_settings import BackupSettings

READ_ALL: Final = "GRANT pg_read_all_data TO the role"


@dataclass(frozen=True, slots=True)
class DumpSource:
    """What is dumped: the database, by which program, with the versions of both."""

    address: SecretStr
    database: str
    server: int
    """The major version of the server."""
    program: Path
    client: int
    """The major version of pg_dump."""


def recipients(settings: BackupSettings) -> Sequence[Recipient]:
    """Return to whom new archives are encrypted; nobody where they are not."""
    if settings.passphrase:
        return [Passphrase(settings.passphrase)]
    return [X25519Recipient(it) for it in settings.recipients]


class DumpStream:
    """What pg_dump writes on its way into a place: counted, checksummed, encrypted, checksummed again."""

    def __init__(self, writer: FileWriter, encryptor: Encryptor | None) -> None:
        self._writer = writer
        self._encryptor = encryptor
        self._plain, self._stored = hashlib.sha256(), hashlib.sha256()
        self.plain_bytes = 0
        self.stored_bytes = 0

    async def write(self, piece: bytes) -> None:
        """Write another piece of the dump. Raises ``BackupError``."""
        self._plain.update(piece)
        self.plain_bytes += len(piece)
        await self._store(await asyncio.to_thread(self._encryptor.update, piece) if self._encryptor else piece)

    async def finish(self) -> Mapping[str, str | int]:
        """Write the end; return the checksums and sizes for the manifest. Raises ``BackupError``."""
        if self._encryptor:
            await self._store(self._encryptor.finish())
        return {
            "size": self.stored_bytes,
            "sha256": self._stored.hexdigest(),
            "dump_size": self.plain_bytes,
            "dump_sha256": self._plain.hexdigest(),
        }

    async def _store(self, data: bytes) -> None:
        if data:
            self._stored.update(data)
            self.stored_bytes += len(data)
            await self._writer.write(data)


async def dump(
    source: DumpSource,
    place: BackupPlace,
    settings: BackupSettings,
    started: datetime,
    clock: Clock,
    progress: Callable[[int], None],
) -> Manifest:
    """
    Write a new archive with its manifest; return the manifest.

    The archive appears when all of it is written; nothing of it stays when this is cancelled or fails. ``progress`` is
    told how many bytes were dumped. Raises ``BackupError``.
    """
    name = archive_name(settings.prefix, started, encrypted=settings.is_encrypted)
    encryptor = await asyncio.to_thread(Encryptor, recipients(settings)) if settings.is_encrypted else None
    command = [str(source.program), "--format=custom", "--no-password", "--lock-wait-timeout=60s"]
    try:
        async with (
            place.writer(name) as writer,
            Program(*command, environment=postgres_programs.connection_environment(source.address)) as process,
        ):
            process.input.close()
            stream = DumpStream(writer, encryptor)
            while piece := await process.output.read(PIECE):
                await stream.write(piece)
                progress(stream.plain_bytes)
            if await process.wait():
                raise _dump_error(source, process.errors)
            if not stream.plain_bytes:
                raise BackupError(Problem.EMPTY, "pg_dump has written nothing")
            figures = await stream.finish()
            await writer.commit()
    except OSError as error:
        raise BackupError(Problem.NO_PROGRAM, f"{source.program} can't be run: {error.strerror}") from error
    manifest = Manifest.model_validate(
        {
            "archive": name,
            "started": started,
            "ended": clock.now(),
            "database": source.database,
            "server_version": source.server,
            "client_version": source.client,
            **figures,
        }
    )
    async with place.writer(name + MANIFEST) as writer:
        await writer.write(manifest.dump())
        await writer.commit()
    return manifest


def _dump_error(source: DumpSource, errors: str) -> BackupError:
    """Return why pg_dump has failed."""
    if "server version mismatch" in errors:
        return BackupError(Problem.OLD_CLIENT, "pg_dump is older than the server", "set shop.pg_bin")
    lines = [it.removeprefix("pg_dump: ").removeprefix("error: ") for it in errors.splitlines()]
    said = redact_text(next((it for it in lines if it), "it does not say why"))[:300]
    remedy = READ_ALL if "permission denied" in errors else ""
    return BackupError(Problem.DUMP, f"pg_dump has failed: {said}", remedy)
