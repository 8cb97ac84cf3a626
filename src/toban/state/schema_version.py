"""The version of the schema, and its migration."""

from importlib.resources import files
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy import Connection, Engine, inspect, text

from toban.core.errors import StateError

log = structlog.get_logger("toban.state")

MIGRATIONS: Final = Path(str(files("toban.state").joinpath("migrations")))
VERSION_TABLE: Final = "toban_schema"
NO_VERSION: Final = "0000"


def latest_version() -> str:
    """Return the newest version that this toban knows: the number in the names of its migrations."""
    return max(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def is_behind(found: str, known: str) -> bool:
    """
    Return whether the schema must be migrated.

    A schema that is one version ahead is used as it is, so that a downgrade by one release works: the release before a
    migration works with its schema. Raises ``StateError`` when it is further ahead.
    """
    if int(found) > int(known) + 1:
        raise StateError(f"written by a newer toban (schema {found}, this one knows {known}): run that one or newer")
    return int(found) < int(known)


def upgrade_schema(engine: Engine) -> None:
    """Migrate the schema if it is behind. Raises ``StateError`` when it is too far ahead."""
    # Not SERIALIZABLE: of two instances that start at once, the second waits and must see the first one's migration.
    level = "READ COMMITTED" if engine.dialect.name == "postgresql" else "SERIALIZABLE"
    with engine.execution_options(isolation_level=level).begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('toban schema'))")
        found = NO_VERSION
        if inspect(connection).has_table(VERSION_TABLE):
            found = connection.execute(text("SELECT version_num FROM toban_schema")).scalar() or NO_VERSION
        if is_behind(found, latest_version()):
            migrate(connection)
            log.info("state migrated", before=found, now=latest_version())


def migrate(connection: Connection, to: str = "head") -> None:
    """Run the missing migrations, up to a version, by default the newest."""
    # Alembic takes 9 MB of memory: it is imported only when a migration is missing.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, to)
