"""How Alembic runs the migrations: inside the transaction that found them missing."""

from alembic import context

from toban.state.schema_version import VERSION_TABLE

context.configure(connection=context.config.attributes["connection"], version_table=VERSION_TABLE)
context.run_migrations()
