"""A place for backups: list files, read and write them piece by piece, delete them."""

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Final

PIECE: Final = 2**20
"""Bytes that are read at once."""
MAX_FILES: Final = 20_000
"""Files that are listed: a place for backups has some dozens."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A complete file in a place."""

    name: str
    size: int
    changed: datetime


class FileWriter(ABC):
    """A file that is being written: nobody sees it before ``commit``."""

    @abstractmethod
    async def write(self, data: bytes) -> None:
        """Write another piece. Raises ``BackupError``."""

    @abstractmethod
    async def commit(self) -> None:
        """Make it durable and visible, at once and as a whole. Raises ``BackupError``."""


class BackupPlace(ABC):
    """Where backups are. Its methods raise ``BackupError``."""

    @property
    @abstractmethod
    def address(self) -> str:
        """Its name for people, without secrets."""

    @abstractmethod
    async def files(self) -> Sequence[StoredFile]:
        """Return the complete files, those of folders within it left out."""

    @abstractmethod
    def read(self, name: str) -> AsyncIterator[bytes]:
        """Yield the pieces of a file."""

    @abstractmethod
    def writer(self, name: str) -> AbstractAsyncContextManager[FileWriter]:
        """Open a new file; what was not committed when the block ends is removed."""

    @abstractmethod
    async def delete(self, name: str) -> None:
        """Delete a file."""

    @abstractmethod
    async def clean(self, prefix: str) -> int:
        """Remove what interrupted writers of files with a prefix have left; return how many there were."""

    @abstractmethod
    async def free(self) -> int | None:
        """Return how many bytes can be written; None where that is not known."""

    async def read_whole(self, name: str, most: int) -> bytes | None:
        """Return a small file; None where it has more than ``most`` bytes."""
        found = bytearray()
        async for piece in self.read(name):
            found += piece
            if len(found) > most:
                return None
        return bytes(found)
