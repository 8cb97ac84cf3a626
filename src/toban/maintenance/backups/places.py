"""The place of the shop's backups, by its settings."""

from collections.abc import Sequence
from typing import Final

from toban.core.errors import ActionError
from toban.maintenance.backups.bucket_place import BucketPlace
from toban.maintenance.backups.folder_place import FolderPlace
from toban.maintenance.backups.place import BackupPlace, StoredFile
from toban.maintenance.task import TaskTools
from toban.shop.backup_settings import BackupSettings

NO_PLACE: Final = "shop.backups is not set: there is no place for backups"
NO_DATABASE: Final = "shop.database is not set: there is no database to back up"


def settings(tools: TaskTools) -> BackupSettings:
    """Return the settings of backups. Raises ``ActionError`` where there are none."""
    found = tools.shop.settings.backups
    if found is None:
        raise ActionError(NO_PLACE)
    return found


def place(tools: TaskTools) -> BackupPlace:
    """Return the place of the shop's backups. Raises ``ActionError`` where none is configured."""
    configured = settings(tools)
    if configured.bucket:
        return BucketPlace(configured.bucket, tools.http, tools.clock)
    assert configured.path  # noqa: S101  # the settings have one of both
    return FolderPlace(configured.path)


async def existing_files(place: BackupPlace, tools: TaskTools) -> Sequence[StoredFile]:
    """Return the files of a place; none where the folder of a first backup is not made yet. Raises ``BackupError``."""
    path = settings(tools).path
    if path and not path.exists():
        return ()
    return await place.files()
