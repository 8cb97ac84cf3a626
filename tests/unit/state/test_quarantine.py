"""Rows that only SQLite can contain: of older versions, and with flipped bits."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, text

from tests.fakes import FakeClock
from tests.notifications import alert
from toban.alerting import repository as alerts
from toban.alerting.repository import AlertRecord
from toban.alerting.states import ActiveAlert
from toban.core.alerts import Acknowledgement
from toban.core.metric_registry import MetricRegistry
from toban.notify import repository
from toban.state import quarantine
from toban.state.backends import SqliteBackend
from toban.state.database import State

AT = datetime(2026, 11, 25, tzinfo=UTC)


@pytest.fixture
async def state(tmp_path: Path):
    async with State(SqliteBackend(tmp_path / "toban.db"), FakeClock(), MetricRegistry()) as state:
        yield state


async def test_lone_surrogates_of_older_versions_are_repaired(state):
    """
    Pages could not be written any more.
    """
    about = alert(acknowledged=Acknowledgement("ann", AT))

    def plant(connection: Connection) -> dict[str, Any]:
        alerts.save(connection, [AlertRecord("r", about.fingerprint, ActiveAlert(about))])
        connection.execute(text(r"""UPDATE alert SET body = REPLACE(body, '"ann"', '"\ud800"')"""))
        return alerts.load(connection)

    (found,) = (await state.transaction(plant))["r"].values()
    assert found.alert.acknowledged.by == "\ufffd"


async def test_rows_with_invalid_json_or_utf8_are_quarantined(state):
    """
    The other rows of the table are read.
    """

    def plant(connection: Connection) -> None:
        connection.execute(text("INSERT INTO notify_alert VALUES ('f', '{\"alert\"')"))
        connection.execute(text("INSERT INTO notify_alert VALUES ('g', CAST(x'7b22ff' AS TEXT))"))

    await state.transaction(plant)
    assert (await state.transaction(repository.load)).alerts == {}
    kept = await state.transaction(quarantine.rows)
    assert sorted(it.key for it in kept) == ["f", "g"]
    assert '{\\"alert\\"' in kept[-1].content


async def test_unreadable_rows_are_skipped_and_reported_while_state_is_read_only(state, monkeypatch):
    """
    As on a full disk; it is moved when that is possible.
    """

    def refuse(*_: object) -> None:
        raise OSError("disk full")

    def plant(connection: Connection) -> None:
        connection.execute(text("INSERT INTO notify_alert VALUES ('f', '5')"))

    await state.transaction(plant)
    with monkeypatch.context() as patched:
        patched.setattr("toban.state.quarantine.move", refuse)
        assert (await state.transaction(repository.load)).alerts == {}
    assert "notify_alert f is skipped" in state.quarantine.health().message
    assert (await state.transaction(repository.load)).alerts == {}
    assert state.quarantine.health().ok
    assert await state.transaction(quarantine.counts) == {"notify_alert": 1}
