"""The tables of the last review of thresholds and of the limits that were applied."""

from datetime import datetime
from typing import Final

from sqlalchemy import Column, Connection, Index, Table, delete, insert, select

from toban.review.follow_up import AppliedLimit
from toban.review.proposal_run import ProposalRun, applied_as_dict, applied_from_dict
from toban.state.column_types import Id, Json, SafeString, Timestamp, metadata
from toban.state.quarantine import readable_rows

MOST_APPLIED: Final = 200
"""How many applied limits are shown and compared, the newest."""

RUNS: Final = Table(
    "threshold_review",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("ended", Timestamp, nullable=False),
    Column("body", Json, nullable=False),
)
APPLIED: Final = Table(
    "applied_limit",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("rule", SafeString(200), nullable=False),
    Column("at", Timestamp, nullable=False),
    Column("body", Json, nullable=False),
    Index("applied_limit_at", "at"),
)


def save_run(connection: Connection, run: ProposalRun, ended: datetime) -> None:
    """Write a run that has ended, in the place of the one before."""
    connection.execute(delete(RUNS))
    connection.execute(insert(RUNS).values(ended=ended, body=run.as_dict()))


def last_run(connection: Connection) -> ProposalRun | None:
    """Return the last run that has ended."""
    rows = connection.execute(select(RUNS).order_by(RUNS.c.id.desc()).limit(1))
    found = readable_rows(connection, RUNS, rows, lambda row: ProposalRun.from_dict(row.body))
    return found[0] if found else None


def add_applied(connection: Connection, applied: AppliedLimit) -> int:
    """Write an applied limit; return its number."""
    values = {"rule": applied.rule[:200], "at": applied.at, "body": applied_as_dict(applied)}
    found = connection.execute(insert(APPLIED).values(**values).returning(APPLIED.c.id))
    return int(found.scalar_one())


def remove_applied(connection: Connection, number: int) -> None:
    """Delete a limit that did not come into force after all."""
    connection.execute(delete(APPLIED).where(APPLIED.c.id == number))


def applied(connection: Connection) -> list[AppliedLimit]:
    """Return the limits that were applied, newest first."""
    rows = connection.execute(select(APPLIED).order_by(APPLIED.c.at.desc(), APPLIED.c.id.desc()).limit(MOST_APPLIED))
    return readable_rows(connection, APPLIED, rows, lambda row: applied_from_dict(row.id, row.body))


def prune(connection: Connection, before: datetime) -> None:
    """Delete the limits that were applied before a time."""
    connection.execute(delete(APPLIED).where(APPLIED.c.at < before))
