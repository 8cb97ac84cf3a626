"""The schema's age, and how it is brought up to date."""

from importlib.resources import files
from pathlib import Path
from typing import Final

import structlog
from sqlalchemy import Connection, Engine, inspect, text

from toban.core.errors import StateError

log = structlog.get_logger("toban.state")

MIGRATIONS: Final = Path(str(files("toban.state").joinpath("migrations")))
VERSION_TABLE: Final = "toban_schema"
NOTHING: Final = "0000"


def latest_revision() -> str:
    """Return the newest revision this toban knows: its migrations are numbered by their files' names."""
    return max(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9]*.py"))


def is_behind(found: str, known: str) -> bool:
    """
    Tell whether the schema must be migrated.

    A schema one step ahead is used as it is, so that one step back works: a migration only ever adds what the release
    before it does not miss. Raises ``StateError`` when it is further ahead.
    """
    if int(found) > int(known) + 1:
        raise StateError(f"written by a newer toban (schema {found}, this one knows {known}): run that one or newer")
    return int(found) < int(known)


def upgrade_schema(engine: Engine) -> None:
    """Migrate the schema if it is behind. Raises ``StateError`` when it is too far ahead."""
    # Not SERIALIZABLE: of two copies that start at once, the second must see what the first did before it waited.
    level = "READ COMMITTED" if engine.dialect.name == "postgresql" else "SERIALIZABLE"
    with engine.execution_options(isolation_level=level).begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('toban schema'))")
        found = NOTHING
        if inspect(connection).has_table(VERSION_TABLE):
            found = connection.execute(text("SELECT version_num FROM toban_schema")).scalar() or NOTHING
        if is_behind(found, latest_revision()):
            migrate(connection)
            log.info("migrated", found=found, now=latest_revision())


def migrate(connection: Connection, to: str = "head") -> None:
    """Run the migrations that are missing, up to the newest or another one."""
    # Alembic costs 9 MB: it is imported when there is something to do.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, to)
