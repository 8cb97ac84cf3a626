"""Archives of the shop's database: their names, what is known of them, and which of them there are."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Annotated, Final, Self

from pydantic import AwareDatetime, BaseModel, Field, ValidationError

from toban.maintenance.backups.place import BackupPlace, StoredFile

DUMP: Final = ".dump"
ENCRYPTED: Final = ".age"
MANIFEST: Final = ".json"
MAX_MANIFEST: Final = 64 * 2**10
OWN_NAME: Final = re.compile(r"-(\d{8}T\d{6}Z)\.dump(?:\.age)?", re.ASCII)
"""The name of an archive of toban after its prefix."""
TIME: Final = "%Y%m%dT%H%M%SZ"


class Manifest(BaseModel):
    """What toban writes beside an archive, as ``NAME.json``: what it must be when it is read again."""

    version: int = Field(1, ge=1, le=1)
    archive: Annotated[str, Field(max_length=300)]
    started: AwareDatetime
    """When the snapshot of the database was taken, or shortly before."""
    ended: AwareDatetime
    size: Annotated[int, Field(ge=0)]
    """Bytes of the file as it is stored."""
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """The checksum of the file as it is stored: `sha256sum` prints the same."""
    dump_size: Annotated[int, Field(ge=0)]
    dump_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """The checksum of what is in it after decryption."""
    database: Annotated[str, Field(max_length=300)]
    server_version: int
    client_version: int

    def dump(self) -> bytes:
        """Return it as it is stored."""
        return self.model_dump_json(indent=2).encode() + b"\n"

    @classmethod
    def parse(cls, body: bytes) -> Self | None:
        """Return the manifest in a file, or None for one that is damaged."""
        try:
            return cls.model_validate_json(body)
        except ValidationError:
            return None


@dataclass(frozen=True, slots=True)
class Archive:
    """
    A backup in a place.

    ``time`` is when it was begun: toban writes it into the name; for others it is when the file was changed last.
    """

    name: str
    time: datetime
    size: int

    @property
    def is_encrypted(self) -> bool:
        """Whether its name says that it is encrypted in the format of age."""
        return self.name.endswith(ENCRYPTED)


def archive_name(prefix: str, time: datetime, *, encrypted: bool) -> str:
    """Return the name of a new archive."""
    return f"{prefix}-{time.astimezone(UTC).strftime(TIME)}{DUMP}{ENCRYPTED if encrypted else ''}"


def own_time(name: str, prefix: str) -> datetime | None:
    """Return the time in the name of an archive of toban; None for any other file."""
    found = OWN_NAME.fullmatch(name.removeprefix(prefix)) if name.startswith(prefix) else None
    try:
        return datetime.strptime(found[1], TIME).replace(tzinfo=UTC) if found else None
    except ValueError:
        return None  # a day that no calendar has


def archives(files: Sequence[StoredFile], prefix: str, pattern: str = "") -> list[Archive]:
    """
    Return the archives among some files, oldest first.

    They are those that toban has written; with a ``pattern``, those whose names match it, whoever has written them.
    """
    if pattern:
        found = [
            Archive(it.name, own_time(it.name, prefix) or it.changed, it.size)
            for it in files
            if fnmatchcase(it.name, pattern) and not it.name.endswith(MANIFEST)
        ]
    else:
        found = [Archive(it.name, at, it.size) for it in files if (at := own_time(it.name, prefix))]
    return sorted(found, key=lambda it: (it.time, it.name))


async def read_manifest(place: BackupPlace, archive: Archive, files: Sequence[StoredFile]) -> Manifest | None:
    """Return the manifest of an archive; None where there is none, or it is damaged. Raises ``BackupError``."""
    name = archive.name + MANIFEST
    if not any(it.name == name for it in files):
        return None
    body = await place.read_whole(name, MAX_MANIFEST)
    found = Manifest.parse(body) if body else None
    return found if found and found.archive == archive.name else None


async def delete_archive(place: BackupPlace, archive: Archive) -> None:
    """Delete an archive, and then its manifest, so that there is never one without. Raises ``BackupError``."""
    await place.delete(archive.name)
    await place.delete(archive.name + MANIFEST)
