"""Migrations of the state of older versions, on both databases."""

import json
from datetime import UTC, datetime, timedelta

from sqlalchemy import create_engine, text

from tests import empty_state
from tests.fakes import FakeClock
from toban.alerting import repository as alert_repository
from toban.alerting.states import ActiveAlert
from toban.collect import repository
from toban.collect.collectors.vendure_db import payment_attempts
from toban.collect.collectors.vendure_db.payment_attempts import FailedAttempt
from toban.collect.collectors.vendure_db.table_streams import ORDERS, PAYMENTS
from toban.core.actor import Actor
from toban.core.alerts import Alert, AlertStatus
from toban.core.labels import Labels
from toban.core.metric_registry import MetricRegistry
from toban.core.notification import Notification, NotificationKind
from toban.instruments.metric_families import ORDERS_CREATED, ORDERS_FAILED, PAYMENTS_FAILED
from toban.notify import repository as notify_repository
from toban.notify.flap_detection import ReportedAs
from toban.notify.pipeline_run import StageNote
from toban.state import audit_log, durable_counters, event_log, outbox, quarantine
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


def test_the_schema_of_the_tests_is_that_of_the_migrations():
    """
    With the rows that migrations insert.
    """
    dumps = []
    for way in (empty_state.MIGRATE, empty_state.migrate):
        engine = create_engine("sqlite://")
        with engine.begin() as connection:
            way(connection)
            dumps.append(list(connection.connection.driver_connection.iterdump()))
        engine.dispose()
    assert dumps[0] == dumps[1]
    assert any("toban_schema" in statement for statement in dumps[1])


async def test_counters_of_the_shop_continue_after_a_migration(opening, monkeypatch):
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


async def test_notifications_continue_after_a_migration(opening, monkeypatch):
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


async def test_counters_positions_alerts_and_the_audit_log_continue_after_a_migration(opening, monkeypatch):
    """
    An alert that is kept firing keeps since when; a body that can't be read goes to the quarantine, not away.
    """
    at = round(AT.timestamp() * 1000)
    alert = Alert(Labels(alertname="disk"), {}, AlertStatus.FIRING, AT, AT)
    body = json.dumps({**alert.as_dict(), "quiet": AT.isoformat()})
    labels = '{"channel":"default","customerType":"general"}'
    rows = [
        ("tally", {"book": ORDERS.name, "family": ORDERS_CREATED.name, "labels": labels, "numbers": "[7]"}),
        ("shop_read", {"book": ORDERS.name, "began": at, "until": at + 1000, "top": 5, "floor": 3}),
        ("shop_seen", {"book": ORDERS.name, "id": "ID", "at": at}),
        ("shop_pending", {"id": 4, "book": ORDERS.name, "samples": "[]"}),
        ("shop_attempt", {"order": "OPEN", "method": "card", "at": at, "failed": False}),
        (
            "alert",
            {"rule": "r{}", "fingerprint": "f", "body": body},
        ),
        ("alert", {"rule": "r{}", "fingerprint": "g", "body": "5"}),
        ("alert_rule", {"rule": "r{}", "seen": at}),
        ("alert_caught_up", {"one": 1, "entry": 9}),
        ("quarantine", {"at": at, "source": "tally", "key": "k", "content": "5", "error": "e"}),
    ]

    def older(connection):
        migrate(connection, "0012")
        write(connection, rows)
        facts = "CAST('{}' AS JSON)" if connection.dialect.name == "postgresql" else "'{}'"
        values = f"(1, {at}, 'ann', 'expired a silence', {facts}, 'api')"
        connection.execute(text(f"INSERT INTO journal (id, at, who, what, facts, via) VALUES {values}"))

    with monkeypatch.context() as patched:
        patched.setattr("toban.state.backends.upgrade_schema", lambda _: None)
        async with State(opening(), FakeClock(), MetricRegistry()) as state:
            await state.transaction(older)

    def newer(connection):
        counters = durable_counters.load(connection, ORDERS.name, ORDERS.families)
        assert counters.value(ORDERS_CREATED, channel="default", customerType="general") == 7
        position = repository.ReadPosition(AT, AT + timedelta(seconds=1), top=5, floor=3)
        assert repository.position(connection, ORDERS.name, AT) == position
        assert repository.recently_counted(connection, ORDERS.name) == {"ID": AT}
        assert repository.pending_samples(connection, ORDERS.name, [], lambda _: []) == [(4, [])]
        assert payment_attempts.open_attempts(connection) == {"OPEN": FailedAttempt("OPEN", "card", AT)}
        assert alert_repository.load(connection) == {"r{}": {alert.labels: ActiveAlert(alert, AT)}}
        assert alert_repository.rules_with_data(connection) == {"r{}": AT}
        assert alert_repository.last_record(connection) == 9
        (entry,) = audit_log.recent(connection, actor="ann")
        assert (entry.actor, entry.action, entry.at) == (Actor("ann", "api"), "expired a silence", AT)
        assert quarantine.counts(connection) == {"durable_counter": 1, "alert": 1}

    async with State(opening(), FakeClock(), MetricRegistry()) as state:
        await state.transaction(newer)
