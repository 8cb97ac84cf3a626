"""What a migration does with what an older toban wrote, on both databases."""

from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from tests.fakes import FakeClock
from toban.collect import repository
from toban.collect.event_stream import ORDERS, PAYMENTS
from toban.collect.repository import FailedAttempt
from toban.core.metric_registry import MetricRegistry
from toban.instruments.metric_families import ORDERS_CREATED, ORDERS_FAILED, PAYMENTS_FAILED
from toban.state import durable_counters
from toban.state.database import State
from toban.state.schema_version import migrate

AT = datetime(2026, 11, 25, tzinfo=UTC)


async def test_what_was_counted_of_the_shop_goes_on_where_it_was(opening, monkeypatch):
    """
    Totals, how far was read, what was seen, and which orders failed: nothing is counted again.
    """
    at = round(AT.timestamp() * 1000)
    rows = [
        ("tally", {"book": "vendure_db", "family": name, "labels": labels, "numbers": "[7]"})
        for name, labels in (
            ("vendure_orders_created_total", '{"channel":"default","customerType":"general"}'),
            ("vendure_payments_failed_total", '{"error":"declined","method":"card"}'),
            ("vendure_orders_failed_total", '{"method":"card"}'),
        )
    ]
    rows.append(("shop_read", {"book": "vendure_db", "began": at - 9000, "until": at, "payment": 4321}))
    rows += [("shop_seen", {"sort": sort, "id": "ID", "at": at}) for sort in ("order", "payment", "decline", "failure")]
    rows.append(("shop_attempt", {"order": "OPEN", "method": "card", "at": at}))

    def older(connection):
        migrate(connection, "0007")
        for table, row in rows:
            names, values = ", ".join(f'"{name}"' for name in row), ", ".join(f":{name}" for name in row)
            connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({values})").bindparams(**row))

    with monkeypatch.context() as patched:
        patched.setattr("toban.state.backends.upgrade_schema", lambda _: None)
        async with State(opening(), FakeClock(), MetricRegistry()) as state:
            await state.transaction(older)

    def newer(connection):
        totals = {name: durable_counters.load(connection, name.name, name.families) for name in (ORDERS, PAYMENTS)}
        assert totals[ORDERS].value(ORDERS_CREATED, channel="default", customerType="general") == 7
        assert totals[PAYMENTS].value(PAYMENTS_FAILED, method="card", error="declined") == 7
        assert totals[PAYMENTS].value(ORDERS_FAILED, method="card") == 7
        for of in (ORDERS, PAYMENTS):
            assert repository.position(connection, of.name, AT) == repository.ReadPosition(
                AT - timedelta(seconds=9), AT, top=4321, floor=3321
            )
            assert repository.recently_counted(connection, of.name) == {"ID": AT}
        assert repository.recently_counted(connection, "declines") == {"ID": AT}
        assert repository.open_attempts(connection) == {"OPEN": FailedAttempt("OPEN", "card", AT)}
        repository.record_attempt(connection, FailedAttempt("ID", "card", AT + timedelta(hours=1)))
        assert "ID" not in repository.open_attempts(connection)  # it has failed, and fails once

    async with State(opening(), FakeClock(), MetricRegistry()) as state:
        await state.transaction(newer)
