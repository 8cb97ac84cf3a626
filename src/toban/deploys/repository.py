"""The table of deploys."""

from datetime import datetime
from typing import Final

from sqlalchemy import Column, Connection, Index, Table, delete, insert, select

from toban.core.deploys import Deploy
from toban.state.column_types import Id, SafeString, Timestamp, metadata
from toban.state.quarantine import readable_rows

DEPLOYS: Final = Table(
    "deploy",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("at", Timestamp, nullable=False),
    Column("version", SafeString(200), nullable=False),
    Column("source", SafeString(50), nullable=False),
    Column("by", SafeString(200), nullable=False),
    Column("url", SafeString(2000), nullable=False),
    Column("text", SafeString(2000), nullable=False),
    Index("deploy_at", "at"),
)


def deploys(connection: Connection, since: datetime, until: datetime, limit: int = 100) -> list[Deploy]:
    """Return the deploys between two times, newest first."""
    query = select(DEPLOYS).where(DEPLOYS.c.at >= since, DEPLOYS.c.at <= until)
    rows = connection.execute(query.order_by(DEPLOYS.c.at.desc(), DEPLOYS.c.id.desc()).limit(limit))
    return readable_rows(
        connection,
        DEPLOYS,
        rows,
        lambda row: Deploy(row.version, row.at, row.source, row.by, row.url, row.text, row.id),
    )


def add(connection: Connection, deploy: Deploy) -> None:
    """Write a deploy."""
    connection.execute(
        insert(DEPLOYS).values(
            at=deploy.at,
            version=deploy.version,
            source=deploy.source,
            by=deploy.by,
            url=deploy.url,
            text=deploy.text,
        )
    )


def prune(connection: Connection, before: datetime) -> None:
    """Delete deploys from before a time."""
    connection.execute(delete(DEPLOYS).where(DEPLOYS.c.at < before))
