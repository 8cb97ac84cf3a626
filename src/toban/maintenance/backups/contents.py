"""Reads an archive as a whole: its checksum, its decryption, and what is in it."""

import asyncio
import hashlib
import zlib
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Final

from toban.core.age_file import CutOffError, Decryptor
from toban.core.age_keys import AgeError, Identity, NoKeyError, Passphrase, identities
from toban.maintenance.backups.archive import Archive, Manifest
from toban.maintenance.backups.errors import BackupError, Problem
from toban.maintenance.backups.place import BackupPlace
from toban.shop.backup_settings import BackupSettings

CUSTOM: Final = b"PGDMP"
"""How an archive of `pg_dump --format=custom` begins."""
GZIP: Final = b"\x1f\x8b"
AGE: Final = b"age-encryption.org/"
PLAIN: Final = (b"--\n-- PostgreSQL database", b"\\restrict ")
"""How a dump as SQL begins; since 18 and 17.6 the second one."""
PLAIN_END: Final = b"-- PostgreSQL database dump complete"
GZIP_WBITS: Final = 16 + zlib.MAX_WBITS
INFLATED: Final = 2**20
"""Bytes that are decompressed at once."""
TAIL: Final = 4_096
MAX_KEY_FILE: Final = 64 * 2**10
KEY_REMEDY: Final = "set shop.backups.identity_file to the file with its private key"


def load_identities(settings: BackupSettings) -> Sequence[Identity]:
    """Return who can decrypt; nobody where no key is set. It reads a file. Raises ``BackupError``."""
    found: list[Identity] = [Passphrase(settings.passphrase)] if settings.passphrase else []
    if path := settings.identity_file:
        try:
            found += identities(_read_key_file(path))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise BackupError(Problem.NO_KEY, f"shop.backups.identity_file: {path}: {reason}") from error
    return found


def _read_key_file(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        return file.read(MAX_KEY_FILE)


class ArchiveReader:
    """
    Reads one archive, piece by piece, as it was before it was encrypted.

    What comes out of an encrypted one is authentic; of another one it is only right when ``pieces`` has ended.
    """

    def __init__(
        self, place: BackupPlace, archive: Archive, manifest: Manifest | None, keys: Sequence[Identity] | None
    ) -> None:
        """With ``keys`` None, an encrypted archive is only compared with its checksum."""
        self._place = place
        self._archive = archive
        self._manifest = manifest
        self._keys = keys
        self.stored = 0
        """Bytes that were read so far."""

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the dump. Raises ``BackupError`` as soon as something is wrong, at the latest at its end."""
        archive, digest = self._archive, hashlib.sha256()
        self._check_size(archive.size)
        decryptor: Decryptor | None = None
        error: BackupError | None = None
        async with aclosing(self._place.read(archive.name)) as source:  # type: ignore[type-var]  # an async generator
            async for piece in source:
                if not self.stored and self._keys is not None and (archive.is_encrypted or piece.startswith(AGE)):
                    decryptor = Decryptor(self._keys)
                digest.update(piece)
                self.stored += len(piece)
                if error:
                    continue  # what follows tells whether the whole file has its checksum
                try:
                    plain = await _decrypt(decryptor.update, piece) if decryptor else piece
                except AgeError as caught:
                    error = _age_error(archive, caught)
                    if error.problem is Problem.NO_KEY:
                        raise error from caught
                    continue
                if plain:
                    yield plain
        self._check_size(self.stored)
        self._check_digest(digest.hexdigest())
        if error:
            raise error
        if decryptor:
            try:
                yield decryptor.finish()
            except AgeError as caught:
                raise _age_error(archive, caught) from caught

    def _check_size(self, size: int) -> None:
        name, whole = self._archive.name, self._manifest.size if self._manifest else self._archive.size
        if not size:
            raise BackupError(Problem.EMPTY, f"{name} is empty")
        if size < whole:
            raise BackupError(Problem.CUT_OFF, f"{name} is cut off: {size:,} of {whole:,} bytes are there")

    def _check_digest(self, found: str) -> None:
        if self._manifest and found != self._manifest.sha256:
            raise BackupError(
                Problem.DAMAGED,
                f"{self._archive.name} is damaged: its checksum is not the one that was written with it",
                "use an older backup, and check the disk that it is on",
            )


async def _decrypt(update: Callable[[bytes], bytes], piece: bytes) -> bytes:
    # In a thread: the first piece may cost a second of scrypt, each later one some milliseconds.
    return await asyncio.to_thread(update, piece)


def _age_error(archive: Archive, error: AgeError) -> BackupError:
    if isinstance(error, NoKeyError):
        return BackupError(Problem.NO_KEY, f"{archive.name} can't be decrypted: {error}", KEY_REMEDY)
    if isinstance(error, CutOffError):
        return BackupError(Problem.CUT_OFF, f"{archive.name}: {error}")
    return BackupError(Problem.DAMAGED, f"{archive.name}: {error}", "use an older backup")


class DumpInspector:
    """Looks at a dump while it is read: which format it has, and whether text and gzip end as they should."""

    def __init__(self, name: str) -> None:
        self.begin = b""
        """How the dump begins, decompressed."""
        self._name = name
        self._tail = b""
        self._first = b""
        self._gzip: zlib._Decompress | None = None

    @property
    def is_custom(self) -> bool:
        """Whether it is in the custom format of pg_dump and not compressed by gzip: pg_restore reads it."""
        return self._first.startswith(CUSTOM)

    def update(self, piece: bytes) -> None:
        """Look at another piece; it may be large when it is decompressed. Raises ``BackupError``."""
        if len(self._first) < len(CUSTOM):
            self._first = (self._first + piece)[: len(CUSTOM)]
            if self._first.startswith(GZIP):
                self._gzip = zlib.decompressobj(GZIP_WBITS)
        if self._gzip is None:
            self._look(piece)
            return
        rest = piece
        while rest:
            if self._gzip.eof:  # another member follows
                self._gzip = zlib.decompressobj(GZIP_WBITS)
            try:
                self._look(self._gzip.decompress(rest, INFLATED))
            except zlib.error as error:
                raise BackupError(Problem.DAMAGED, f"{self._name} is damaged: {error}") from error
            rest = self._gzip.unconsumed_tail or self._gzip.unused_data.lstrip(b"\0")

    def _look(self, plain: bytes) -> None:
        if len(self.begin) < TAIL:
            self.begin = (self.begin + plain)[:TAIL]
        self._tail = (self._tail + plain[-TAIL:])[-TAIL:]

    def finish(self) -> None:
        """Look at the end. Raises ``BackupError``."""
        if self._gzip is not None and not self._gzip.eof:
            raise BackupError(Problem.CUT_OFF, f"{self._name} is cut off: its gzip does not end")
        if self.begin.startswith(CUSTOM):
            return
        if not self.begin.lstrip().startswith(PLAIN):
            begin = self.begin[:12]
            raise BackupError(
                Problem.NOT_A_DUMP,
                f"{self._name} is no dump that toban knows: it begins with {begin!r}",
                "write it with `pg_dump --format=custom`",
            )
        if PLAIN_END not in self._tail:
            raise BackupError(Problem.CUT_OFF, f"{self._name} is cut off: it does not say that the dump is complete")
