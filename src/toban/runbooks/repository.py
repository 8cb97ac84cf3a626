"""Tables of runbooks: the runs, and the stop switch."""

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Boolean, Column, Connection, Index, Row, Table, delete, func, insert, or_, select, update

from toban.runbooks.run import OPEN, Run, StopSwitch
from toban.state.column_types import Id, Json, SafeString, Timestamp, metadata
from toban.state.quarantine import readable_rows

RUNS: Final = Table(
    "runbook_run",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=False),
    Column("runbook", SafeString(100), nullable=False),
    Column("state", SafeString(20), nullable=False),
    Column("started", Timestamp, nullable=False),
    Column("body", Json, nullable=False),
    Index("runbook_run_started", "started"),
)
SWITCH: Final = Table(
    "runbook_switch",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=False),
    Column("is_stopped", Boolean, nullable=False),
    Column("at", Timestamp, nullable=False),
    Column("by", SafeString(200), nullable=False),
    Column("reason", SafeString(2000), nullable=False),
)


def recent_runs(connection: Connection, since: datetime) -> list[Run]:
    """Return the runs that go on, and those that were started since a time, oldest first."""
    wanted = or_(RUNS.c.started >= since, RUNS.c.state.in_([state.value for state in OPEN]))
    return _runs(connection, connection.execute(select(RUNS).where(wanted).order_by(RUNS.c.id)))


def runs(connection: Connection, limit: int, runbook: str = "") -> list[Run]:
    """Return the newest runs, newest first; of one runbook, if one is named."""
    query = select(RUNS).order_by(RUNS.c.id.desc()).limit(limit)
    return _runs(connection, connection.execute(query.where(RUNS.c.runbook == runbook) if runbook else query))


def runs_between(connection: Connection, since: datetime, until: datetime, limit: int) -> list[Run]:
    """Return the newest runs that were started between two times, newest first."""
    is_between = RUNS.c.started.between(since, until)
    query = select(RUNS).where(is_between).order_by(RUNS.c.id.desc()).limit(limit)
    return _runs(connection, connection.execute(query))


def run(connection: Connection, number: int) -> Run | None:
    """Return one run."""
    found = _runs(connection, connection.execute(select(RUNS).where(RUNS.c.id == number)))
    return found[0] if found else None


def add_run(connection: Connection, new: Run) -> Run:
    """Write a new run and return it with its number."""
    number = int(connection.execute(select(func.max(RUNS.c.id))).scalar() or 0) + 1
    new = replace(new, id=number)
    connection.execute(
        insert(RUNS).values(
            id=number, runbook=new.runbook, state=new.state.value, started=new.started, body=new.as_dict()
        )
    )
    return new


def save_run(connection: Connection, changed: Run) -> None:
    """Write a changed run."""
    connection.execute(
        update(RUNS).where(RUNS.c.id == changed.id).values(state=changed.state.value, body=changed.as_dict())
    )


def stop_switch(connection: Connection) -> StopSwitch:
    """Return the stop switch."""
    found = readable_rows(
        connection,
        SWITCH,
        connection.execute(select(SWITCH)),
        lambda row: StopSwitch(bool(row.is_stopped), row.at, row.by, row.reason),
    )
    return found[0] if found else StopSwitch(False)


def save_stop_switch(connection: Connection, switch: StopSwitch) -> None:
    """Write the stop switch."""
    connection.execute(delete(SWITCH))
    connection.execute(
        insert(SWITCH).values(id=1, is_stopped=switch.is_stopped, at=switch.at, by=switch.by, reason=switch.reason)
    )


def prune(connection: Connection, before: datetime) -> None:
    """Delete runs that were started before a time and have ended."""
    is_open = RUNS.c.state.in_([state.value for state in OPEN])
    connection.execute(delete(RUNS).where(RUNS.c.started < before, ~is_open))


def _runs(connection: Connection, rows: Iterable[Row[Any]]) -> list[Run]:
    return readable_rows(connection, RUNS, rows, lambda row: Run.from_dict(row.id, row.body))
