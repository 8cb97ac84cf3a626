"""Restores toban's own data folder from a backup."""

import fcntl
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from toban.core.errors import SettingsError, TobanError
from toban.core.number_format import format_bytes
from toban.maintenance.data_backup import DATA, ELSEWHERE, BackupFile, BackupManifest, checksum, copy_file
from toban.tsdb.corruption import fsync_folder

UNFINISHED: Final = "restore.tmp"
"""The folder in the data folder in which files are until all are there."""
IGNORED: Final = frozenset({"lost+found", UNFINISHED})


def restore(backup: Path, data: Path) -> BackupManifest:
    """
    Restore a data folder that is empty or missing; return what was restored.

    Every file is compared with its checksum before the data folder is touched. A restore that was killed is begun anew.
    Raises ``TobanError``.
    """
    manifest = BackupManifest.read(backup)
    try:
        _refuse_running(data)
        _remove_interrupted(data, manifest)
        _refuse_files(data)
        _verify(backup, manifest)
        _check_room(data, manifest)
        unfinished = data / UNFINISHED
        unfinished.mkdir(mode=0o700, parents=True)
        found = [it for it in manifest.files if it.path.startswith(f"{DATA}/")]
        for it in found:
            copy_file(backup / it.path, unfinished / _name(it))
        _move(unfinished, data, found)
    except OSError as error:
        raise TobanError(f"{error.filename or data}: {error.strerror or error}") from error
    return manifest


@dataclass(frozen=True, slots=True)
class MissingFile:
    """A file that the configuration names elsewhere: in the backup, and not the same on this machine."""

    path: Path
    """Where the configuration expects it."""
    copy: Path
    """Where it is in the backup."""
    differs: bool
    """Whether there is another one."""


def files_elsewhere(backup: Path, manifest: BackupManifest) -> list[MissingFile]:
    """
    Return the files that must be put where the configuration expects them.

    They are only named: what a backup says must not write outside of the data folder. Raises ``TobanError``.
    """
    found = []
    for it in manifest.files:
        if it.path.startswith(f"{ELSEWHERE}/"):
            path = Path("/") / it.path.removeprefix(f"{ELSEWHERE}/")
            try:
                is_same = path.is_file() and path.stat().st_size == it.size and checksum(path) == it.sha256
                if not is_same:
                    found.append(MissingFile(path, backup / it.path, path.exists()))
            except OSError as error:
                raise TobanError(f"{path}: {error.strerror or error}") from error
    return found


def _name(file: BackupFile) -> str:
    return file.path.removeprefix(f"{DATA}/")


def _refuse_running(data: Path) -> None:
    """Raise ``TobanError`` where a toban uses the data folder."""
    if not (data / "toban.lock").exists():
        return
    handle = os.open(data / "toban.lock", os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise SettingsError(f"{data}: toban runs there: stop it, or restore into another folder: --data") from error
    finally:
        os.close(handle)


def _refuse_files(data: Path) -> None:
    found = sorted(it.name for it in data.iterdir() if it.name not in IGNORED) if data.exists() else []
    if found:
        raise SettingsError(
            f"{data} is not empty ({', '.join(found[:3])}), and nothing is overwritten: name another folder: --data"
        )


def _remove_interrupted(data: Path, manifest: BackupManifest) -> None:
    """Remove what a restore that was killed has left: as its folder is there, the other files are its own."""
    if not (data / UNFINISHED).exists():
        return
    for it in manifest.files:
        (data / _name(it)).unlink(missing_ok=True)
    for folder in sorted((it for it in data.rglob("*") if it.is_dir() and UNFINISHED not in it.parts), reverse=True):
        if not any(folder.iterdir()) and folder.name not in IGNORED:
            folder.rmdir()
    shutil.rmtree(data / UNFINISHED)


def _verify(backup: Path, manifest: BackupManifest) -> None:
    """Compare all files with their checksums. Raises ``TobanError`` for the first that differs."""
    for it in manifest.files:
        path = backup / it.path
        if not path.is_file():
            raise TobanError(f"{path} is missing: nothing was restored: use another backup")
        if path.stat().st_size != it.size or checksum(path) != it.sha256:
            raise TobanError(f"{path} is damaged: nothing was restored: use another backup")


def _check_room(data: Path, manifest: BackupManifest) -> None:
    existing = next(it for it in (data, *data.absolute().parents) if it.exists())
    free = shutil.disk_usage(existing).free
    if free < manifest.size:
        raise TobanError(f"{existing} has {format_bytes(free)} free, the backup needs {format_bytes(manifest.size)}")


def _move(unfinished: Path, data: Path, files: list[BackupFile]) -> None:
    """Give all files their names, and then remove the folder that says that the restore goes on."""
    for it in files:
        target = data / _name(it)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        (unfinished / _name(it)).rename(target)
    for folder in {(data / _name(it)).parent for it in files} | {data}:
        fsync_folder(folder)
    shutil.rmtree(unfinished)
    fsync_folder(data)
