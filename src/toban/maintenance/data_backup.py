"""Backs up toban's own data folder, also while toban runs: databases by SQLite, sealed files as they are."""

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, Final

from pydantic import AfterValidator, AwareDatetime, BaseModel, Field, ValidationError

import toban
from toban.core.child_process import is_running
from toban.core.errors import TobanError
from toban.core.paths import OWN_FILES, SOCKET
from toban.maintenance.named_files import NamedFile, NamedFiles
from toban.tsdb.corruption import fsync_folder

MANIFEST: Final = "manifest.json"
DATA: Final = "data"
"""The folder within a backup with what was in the data folder."""
SETTINGS: Final = "settings"
"""The folder within a backup with the configuration, and what it names relative to itself."""
ELSEWHERE: Final = "elsewhere"
"""The folder within a backup with other files that the configuration names, under their whole paths."""
DATABASE: Final = ".db"
SKIPPED: Final = (SOCKET, "toban.lock", "lock", "*-wal", "*-shm", "*-journal", "*.tmp", "*.saving", "lost+found")
"""What belongs to a process that runs, and not to its data. A WAL is part of its database."""
MAX_MANIFEST: Final = 64 * 2**20
MAX_FILES: Final = 200_000
MAX_NAMED: Final = 2_000
PIECE: Final = 2**20
NEW_FILE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def _inside(path: str) -> str:
    if Path(path).is_absolute() or ".." in Path(path).parts:
        raise ValueError("it is outside of the backup")
    return path


class BackupFile(BaseModel):
    """A file of a backup: its path within it, its size, its checksum."""

    path: Annotated[str, Field(max_length=5_000), AfterValidator(_inside)]
    size: Annotated[int, Field(ge=0)]
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class NotCopied(BaseModel):
    """A file that a setting names and that is not in a backup."""

    setting: Annotated[str, Field(max_length=1_000)]
    path: Annotated[str, Field(max_length=4_096)]


class BackupManifest(BaseModel):
    """What a backup of toban's data consists of; one without is not complete."""

    version: int = Field(1, ge=1, le=1)
    toban: str
    time: AwareDatetime
    files: Annotated[list[BackupFile], Field(max_length=MAX_FILES)]
    configuration: Annotated[str, Field(max_length=1_000), AfterValidator(_inside)] = ""
    """The path of the configuration within it."""
    secrets: Annotated[list[NotCopied], Field(max_length=MAX_NAMED)] = []
    """Files with secrets that the configuration names: they are not in it."""

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(it.size for it in self.files)

    @classmethod
    def read(cls, folder: Path) -> "BackupManifest":
        """Return the manifest of a backup. Raises ``TobanError``."""
        try:
            with (folder / MANIFEST).open("rb") as file:
                body = file.read(MAX_MANIFEST)
            return cls.model_validate_json(body)
        except FileNotFoundError as error:
            raise TobanError(f"{folder} is no backup of toban, or was not finished: {MANIFEST} is missing") from error
        except OSError as error:
            raise TobanError(f"{folder / MANIFEST}: {error.strerror}") from error
        except ValidationError as error:
            raise TobanError(f"{folder / MANIFEST} is damaged: use another backup") from error


def back_up(
    data: Path,
    folder: Path,
    settings: Path | None,
    sealed: Sequence[str],
    named: NamedFiles = NamedFiles(),  # noqa: B008  # it is frozen
) -> BackupManifest:
    """
    Back up a data folder, the configuration and what it names into a new folder, which appears when it is complete.

    ``sealed`` are the suffixes of files that never change once they have their name: these are linked where the disk
    is the same. Databases come first: what moves into a sealed file meanwhile is in both then, and counts once.
    Raises ``TobanError``.
    """
    _check(data, folder)
    with _errors(folder):
        _remove_leftovers(folder)
        unfinished = folder.with_name(f".{folder.name}.unfinished-{os.getpid()}")
        unfinished.mkdir(mode=0o700, parents=True)
        try:
            _copy_databases(data, unfinished / DATA)
            _copy_files(data, unfinished / DATA, sealed)
            _link_sealed(data, unfinished / DATA, sealed)
            if settings:
                copy_file(settings, unfinished / SETTINGS / settings.name)
            for it in named.files:
                copy_file(it.path, unfinished / _place(it))
            manifest = _write_manifest(unfinished, settings, named)
            unfinished.rename(folder)  # in place of an empty folder too
            fsync_folder(folder.parent)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
    return manifest


def own_files(data: Path) -> Iterator[Path]:
    """Yield the files of toban in a data folder, relative to it."""
    for entry in sorted(data.iterdir()):
        if not any(fnmatch(entry.name, it) for it in (*OWN_FILES, "stop-automation")):
            continue
        paths = sorted(entry.rglob("*")) if entry.is_dir() and not entry.is_symlink() else [entry]
        for path in paths:
            skipped = any(fnmatch(part, it) for part in path.relative_to(data).parts for it in SKIPPED)
            if not skipped and path.is_file() and not path.is_symlink():
                yield path.relative_to(data)


def _check(data: Path, folder: Path) -> None:
    if not data.is_dir():
        raise TobanError(f"{data}: there is no data folder of toban: name it with --data")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise TobanError(f"{folder} exists and is not empty: name a new folder for each backup")
    if folder.absolute().is_relative_to(data.absolute()):
        raise TobanError(f"{folder} is in the data folder itself: name one elsewhere, best on another disk")


def _remove_leftovers(folder: Path) -> None:
    """Remove what killed backups into the same folder have left."""
    begin = f".{folder.name}.unfinished-"
    for path in folder.parent.glob(".*.unfinished-*") if folder.parent.exists() else ():
        number = path.name.removeprefix(begin)
        if not (path.name.startswith(begin) and number.isdigit()):
            continue
        # In a container, a process may have the number of the one that was killed.
        if int(number) == os.getpid() or not is_running(int(number)):
            shutil.rmtree(path)


def _copy_databases(data: Path, target: Path) -> None:
    for name in [it for it in own_files(data) if it.suffix == DATABASE]:
        path = target / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # In one step: each database is as it was at one moment, and writers do not wait.
        with closing(sqlite3.connect(data / name, timeout=10)) as source, closing(sqlite3.connect(path)) as copy:
            source.backup(copy)
            copy.execute("pragma journal_mode = delete")
        path.chmod(0o600)


def _copy_files(data: Path, target: Path, sealed: Sequence[str]) -> None:
    for name in own_files(data):
        if name.suffix != DATABASE and name.suffix not in sealed:
            copy_file(data / name, target / name)


def _link_sealed(data: Path, target: Path, sealed: Sequence[str]) -> None:
    """Link or copy sealed files, until there is none that is missing: some may be replaced meanwhile."""
    done: set[Path] = set()
    while new := [it for it in own_files(data) if it.suffix in sealed and it not in done]:
        for name in new:
            done.add(name)
            path = target / name
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                os.link(data / name, path)
            except FileNotFoundError:
                continue  # what it contained is in the one that has replaced it, or was too old
            except OSError:
                copy_file(data / name, path, missing_ok=True)


def _place(named: NamedFile) -> Path:
    """Return where a file that the configuration names is in a backup."""
    if named.inside:
        return Path(SETTINGS) / named.inside
    return Path(ELSEWHERE) / named.path.relative_to(named.path.anchor)


def _write_manifest(folder: Path, settings: Path | None, named: NamedFiles) -> BackupManifest:
    paths = sorted(it for it in folder.rglob("*") if it.is_file())
    files = [BackupFile(path=str(it.relative_to(folder)), size=it.stat().st_size, sha256=checksum(it)) for it in paths]
    manifest = BackupManifest(
        toban=toban.__version__,
        time=datetime.now(UTC),
        files=files,
        configuration=f"{SETTINGS}/{settings.name}" if settings else "",
        secrets=[NotCopied(setting=it.setting, path=str(it.path)) for it in named.secrets],
    )
    with (folder / MANIFEST).open("w", encoding="utf-8") as file:
        file.write(manifest.model_dump_json(indent=1) + "\n")
        file.flush()
        os.fsync(file.fileno())
    for path in [it for it in folder.rglob("*") if it.is_dir()]:
        fsync_folder(path)
    fsync_folder(folder)
    return manifest


def copy_file(source: Path, target: Path, *, missing_ok: bool = False) -> None:
    """Copy a file, private and durable. Raises ``OSError``."""
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        with source.open("rb") as reading, os.fdopen(os.open(target, NEW_FILE, 0o600), "wb") as writing:
            shutil.copyfileobj(reading, writing, PIECE)
            writing.flush()
            os.fsync(writing.fileno())
    except FileNotFoundError:
        if not missing_ok:
            raise


def checksum(path: Path, progress: Callable[[int], None] = lambda _: None) -> str:
    """Return the SHA-256 of a file. Raises ``OSError``."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(PIECE):
            digest.update(piece)
            progress(len(piece))
    return digest.hexdigest()


@contextmanager
def _errors(folder: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise TobanError(f"a database of toban can't be copied: {error}") from error
    except OSError as error:
        raise TobanError(f"{error.filename or folder}: {error.strerror or error}") from error
