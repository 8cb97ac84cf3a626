"""PostgreSQL's programs for backups: new enough for what they work on."""

from pathlib import Path

from toban.core.errors import ActionError
from toban.maintenance.backups.errors import BackupError, Problem
from toban.shop.postgres_programs import find_program, major_version, require_program, wheel_postgres


async def backup_program(name: str, folder: Path | None, wanted: int | None, wanted_by: str) -> tuple[Path, int]:
    """
    Return a program and its major version, which is that of ``wanted_by`` at least; the newest where that is unknown.

    The PATH may have an old one, as Debian's, where the wheel has a newer one. Raises ``BackupError``.
    """
    try:
        program = require_program(name, folder)
        version = await major_version(program)
        wheel = None if folder or (wanted and version >= wanted) else wheel_postgres()
        if wheel and (newer := find_program(name, wheel)) and (found := await major_version(newer)) > version:
            program, version = newer, found
    except ActionError as error:
        raise BackupError(Problem.NO_PROGRAM, str(error)) from error
    if version >= (wanted or 0):
        return program, version
    raise BackupError(
        Problem.OLD_CLIENT,
        f"{name} has version {version}, which is older than {wanted_by} ({wanted})",
        f"install postgresql-client-{wanted} and set shop.pg_bin to its folder, like /usr/lib/postgresql/{wanted}/bin",
    )
