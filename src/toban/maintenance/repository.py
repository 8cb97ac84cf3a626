"""The table of maintenance runs."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Column, Connection, Index, Row, Table, UniqueConstraint, delete, func, insert, select, update

from toban.maintenance.run import MaintenanceRun, RunState, StepRecord
from toban.maintenance.task import Finding
from toban.state.column_types import Id, Json, SafeString, Timestamp, metadata
from toban.state.quarantine import readable_rows

RUNS: Final = Table(
    "maintenance_run",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=False),
    Column("task", SafeString(100), nullable=False),
    Column("due", Timestamp),
    Column("target", SafeString(200), nullable=False),
    Column("state", SafeString(20), nullable=False),
    Column("started", Timestamp, nullable=False),
    Column("owner", SafeString(100), nullable=False),
    Column("renewed", Timestamp, nullable=False),
    Column("canceled_by", SafeString(200), nullable=False),
    Column("body", Json, nullable=False),
    UniqueConstraint("task", "due", name="maintenance_run_once"),
    Index("maintenance_run_started", "started"),
)
"""Two processes that share this state run what is due once: ``task`` and ``due`` are unique."""


def open_runs(connection: Connection) -> list[MaintenanceRun]:
    """Return the runs that go on, oldest first."""
    return _runs(connection, select(RUNS).where(RUNS.c.state == RunState.RUNNING.value).order_by(RUNS.c.id))


def runs(connection: Connection, limit: int, task: str = "") -> list[MaintenanceRun]:
    """Return the newest runs, newest first; of one task, if one is named."""
    query = select(RUNS).order_by(RUNS.c.id.desc()).limit(limit)
    return _runs(connection, query.where(RUNS.c.task == task) if task else query)


def runs_since(connection: Connection, since: datetime) -> list[MaintenanceRun]:
    """Return the runs that were started since a time, oldest first."""
    return _runs(connection, select(RUNS).where(RUNS.c.started >= since).order_by(RUNS.c.id))


def run(connection: Connection, number: int) -> MaintenanceRun | None:
    """Return one run."""
    found = _runs(connection, select(RUNS).where(RUNS.c.id == number))
    return found[0] if found else None


def last_due(connection: Connection) -> dict[str, datetime]:
    """Return the latest time of its schedule that each task has a run for."""
    query = select(RUNS.c.task, func.max(RUNS.c.due).label("due")).where(RUNS.c.due.is_not(None)).group_by(RUNS.c.task)
    return {row.task: row.due for row in connection.execute(query)}


def is_taken(connection: Connection, task: str, due: datetime) -> bool:
    """Return whether some process has taken a time of a task's schedule."""
    query = select(func.count()).select_from(RUNS).where(RUNS.c.task == task, RUNS.c.due == due)
    return bool(connection.execute(query).scalar())


def add_run(connection: Connection, new: MaintenanceRun) -> MaintenanceRun:
    """Write a new run and return it with its number. Raises ``IntegrityError`` where its time is taken."""
    number = int(connection.execute(select(func.max(RUNS.c.id))).scalar() or 0) + 1
    new = replace(new, id=number)
    connection.execute(
        insert(RUNS).values(
            id=number,
            task=new.task,
            due=new.due,
            target=new.target,
            state=new.state.value,
            started=new.started,
            owner=new.owner,
            renewed=new.renewed,
            canceled_by="",
            body=new.as_dict(),
        )
    )
    return new


def save_run(connection: Connection, changed: MaintenanceRun) -> bool:
    """Write a run that its owner has changed; return whether it still is the owner's and goes on."""
    own = (RUNS.c.id == changed.id) & (RUNS.c.owner == changed.owner) & (RUNS.c.state == RunState.RUNNING.value)
    values = {"state": changed.state.value, "renewed": changed.renewed, "body": changed.as_dict()}
    return bool(connection.execute(update(RUNS).where(own).values(**values)).rowcount)


def cancel(connection: Connection, number: int, by: str) -> None:
    """Note who wants a run to end."""
    connection.execute(update(RUNS).where(RUNS.c.id == number).values(canceled_by=by))


def prune(connection: Connection, before: datetime) -> None:
    """Delete runs that were started before a time and have ended."""
    connection.execute(delete(RUNS).where(RUNS.c.started < before, RUNS.c.state != RunState.RUNNING.value))


def _runs(connection: Connection, query: Any) -> list[MaintenanceRun]:
    rows: Iterable[Row[Any]] = connection.execute(query)
    return readable_rows(connection, RUNS, rows, _run)


def _run(row: Row[Any]) -> MaintenanceRun:
    body = row.body
    return MaintenanceRun(
        row.id,
        row.task,
        body["kind"],
        row.target,
        RunState(row.state),
        row.started,
        row.owner,
        row.renewed,
        row.due,
        body["by"],
        body["is_dry"],
        row.canceled_by,
        tuple(StepRecord.from_dict(it) for it in body["steps"]),
        tuple(Finding.from_dict(it) for it in body["findings"]),
        dict(body["figures"]),
        body["progress"],
        body["silence"],
        datetime.fromisoformat(body["ended"]) if body["ended"] else None,
        body["text"],
    )
