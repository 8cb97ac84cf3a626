"""What a migration does with what an older toban wrote, on both databases."""

import json
from datetime import UTC, datetime, timedelta

from sqlalchemy import text

from tests.fakes import FakeClock
from toban.collect import repository
from toban.collect.collectors.vendure_db import payment_attempts
from toban.collect.collectors.vendure_db.payment_attempts import FailedAttempt
from toban.collect.collectors.vendure_db.table_streams import ORDERS, PAYMENTS
from toban.core.metric_registry import MetricRegistry
from toban.instruments.metric_families import ORDERS_CREATED, ORDERS_FAILED, PAYMENTS_FAILED
from toban.notify import repository as notify_repository
from toban.notify.flap_detection import ReportedAs
from toban.notify.notification import Notification, NotificationKind
from toban.notify.pipeline_run import StageNote
from toban.state import durable_counters, event_log, outbox, quarantine
from toban.state.database import State
from toban.state.schema_version import migrate

AT = datetime(2026, 11, 25, tzinfo=UTC)


def write(connection, rows):
    """Write rows into tables as they were before a migration."""
    for table, row in rows:
        json_type = "CAST(:body AS JSON)" if connection.dialect.name == "postgresql" else ":body"
        names = ", ".join(f'"{name}"' for name in row)
        values = ", ".join(json_type if name == "body" else f":{name}" for name in row)
        connection.execute(text(f"INSERT INTO {table} ({names}) VALUES ({values})").bindparams(**row))


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
        write(connection, rows)

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
        assert payment_attempts.open_attempts(connection) == {"OPEN": FailedAttempt("OPEN", "card", AT)}
        payment_attempts.record_attempt(connection, FailedAttempt("ID", "card", AT + timedelta(hours=1)))
        assert "ID" not in payment_attempts.open_attempts(connection)  # it has failed, and fails once

    async with State(opening(), FakeClock(), MetricRegistry()) as state:
        await state.transaction(newer)


THREAD = {
    "id": "g1",
    "key": '{alertname="disk"} to ops',
    "channels": ["ops"],
    "group": {"alertname": "disk"},
    "opened": AT.isoformat(),
    "told": {"f1": "firing", "f2": "over", "f3": "unstable"},
    "number": 2,
    "spoken": AT.isoformat(),
    "severity": "warning",
    "title": "disk",
    "members": ["f1", "f2", "f3"],
}
PARCEL = {
    "thread": "g1",
    "number": 1,
    "key": "g1.1.ops",
    "kind": "unstable",
    "severity": "warning",
    "title": "disk",
    "lines": ["line"],
    "facts": [],
    "links": [],
    "at": AT.isoformat(),
    "since": AT.isoformat(),
    "language": "en",
    "alerts": [],
    "group": {"alertname": "disk"},
    "receiver": "ops",
    "only": ["ann"],
    "unsure": 1,
}


async def test_notifications_go_on_where_they_were(opening, monkeypatch):
    """
    Offsets, waiting messages in their order, open groups and how their alerts were reported; what can't be read stays.
    """
    at = round(AT.timestamp() * 1000)
    rows = [
        ("feed", {"position": 7, "at": at, "topic": "alert", "body": "{}"}),
        ("feed_cursor", {"reader": "notify", "position": 6}),
        ("feed_end", {"one": 1, "position": 7}),
        ("spool_ended", {"lane": "channel:ops", "outcome": "dropped: refused", "many": 3}),
        ("notify_thread", {"id": "g1", "body": json.dumps(THREAD)}),
        ("notify_thread", {"id": "g2", "body": "5"}),
        ("notify_handle", {"thread": "g1", "channel": "ops", "body": '{"ts": 1}', "touched": at}),
        ("notify_note", {"id": 1, "fingerprint": "f1", "at": at, "stage": "route", "says": "to ops"}),
        ("quarantine", {"at": at, "source": "spool", "key": "k", "content": "5", "error": "e"}),
    ]
    waiting = {
        "lane": "channel:ops",
        "key": "g1.1.ops",
        "put": at,
        "due": at,
        "tries": 1,
        "trouble": "no",
        "line": "g1",
    }
    rows += [("spool", {"id": 1, "body": json.dumps(PARCEL), **waiting}), ("spool", {"id": 2, "body": "5", **waiting})]

    def older(connection):
        migrate(connection, "0010")
        write(connection, rows)

    with monkeypatch.context() as patched:
        patched.setattr("toban.state.backends.upgrade_schema", lambda _: None)
        async with State(opening(), FakeClock(), MetricRegistry()) as state:
            await state.transaction(older)

    def newer(connection):
        assert [event.position for event in event_log.read(connection, "notify")] == [7]
        counts = outbox.counts(connection, "channel:ops")
        assert (counts.dropped, counts.waiting) == ({"rejected": 3}, 2)
        first, second = outbox.peek(connection, "channel:ops")
        assert (first.attempts, first.ordering_key, second.body) == (1, "g1", 5)
        message = Notification.from_dict(first.body)
        assert (message.group_id, message.kind, message.recipients, message.unconfirmed) == (
            "g1",
            NotificationKind.FLAPPING,
            ("ann",),
            1,
        )
        group = notify_repository.load(connection).groups["g1"]
        assert group.reported == {"f1": ReportedAs.FIRING, "f2": ReportedAs.RESOLVED, "f3": ReportedAs.FLAPPING}
        assert (group.notified, group.labels) == (AT, {"alertname": "disk"})
        assert notify_repository.load_handle(connection, "g1", "ops") == {"ts": 1}
        assert notify_repository.notes(connection, "f1") == [(AT, StageNote("route", "to ops"))]
        assert quarantine.counts(connection) == {"outbox": 1, "notify_group": 1}

    async with State(opening(), FakeClock(), MetricRegistry()) as state:
        await state.transaction(newer)
