"""The schema of an empty SQLite file, as the migrations leave it: running them takes a third of a second."""

from functools import cache

from sqlalchemy import Connection, create_engine, inspect

from toban.state import schema_version

MIGRATE = schema_version.migrate


@cache
def statements() -> list[str]:
    """Return what makes the schema, by migrating a database in memory."""
    engine = create_engine("sqlite://")
    with engine.begin() as connection:
        MIGRATE(connection)
        dump = connection.connection.driver_connection.iterdump()
        found = [statement for statement in dump if statement not in {"BEGIN TRANSACTION;", "COMMIT;"}]
    engine.dispose()
    return found


def migrate(connection: Connection, to: str = "head") -> None:
    """Migrate like toban, but an empty SQLite file at once."""
    if connection.dialect.name != "sqlite" or to != "head" or inspect(connection).get_table_names():
        MIGRATE(connection, to)
        return
    for statement in statements():
        connection.exec_driver_sql(statement)
