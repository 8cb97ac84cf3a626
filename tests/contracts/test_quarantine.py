"""Unreadable state, on SQLite and on PostgreSQL alike."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Table, insert, select, text

from tests.fakes import FakeClock
from tests.notifications import alert, notification
from toban.alerting import repository as alerts
from toban.alerting.repository import AlertRecord
from toban.alerting.states import ActiveAlert
from toban.collect import repository as shop
from toban.collect.collectors.vendure_db import payment_attempts
from toban.core.actor import Actor
from toban.core.alerts import TOPIC, Acknowledgement, AlertChange
from toban.core.item_isolation import ItemFailure
from toban.core.matchers import Matcher, MatchOperator
from toban.core.metric_registry import MetricRegistry
from toban.notify import repository
from toban.notify.flap_detection import TrackedAlert
from toban.notify.notification_group import NotificationGroup
from toban.notify.pipeline_run import PipelineState, StageNote
from toban.notify.silences import Silence
from toban.state import audit_log, event_log, outbox, quarantine
from toban.state.audit_log import AuditEntry
from toban.state.quarantine import ROWS, Quarantine

AT = datetime(2026, 11, 25, tzinfo=UTC)
NASTY = ["a\0b", '"', "\\", "チーム", "🏮", "{a,b}", "\n", "' OR 1=1 --", "\x85\u2028", "x" * 150]


def silence(name: str, matcher: Matcher, word: str = "tea") -> Silence:
    return Silence(name, (matcher,), AT, AT + timedelta(hours=1), word, word, AT)


async def test_a_silence_on_any_label_name_is_loaded_unchanged(state):
    """
    One on `service.name` ended toban, and every start after it.
    """
    kept = [
        silence(f"s{n:02}", Matcher(name, MatchOperator.REGEX, "a.*"))
        for n, name in enumerate([*NASTY, "service.name"])
    ]

    def story(connection: Connection) -> list[Silence]:
        for one in kept:
            repository.save_silence(connection, one)
        return repository.silences(connection)

    assert await state.transaction(story) == kept


@pytest.mark.parametrize("word", NASTY)
async def test_every_written_row_is_readable(state, word):
    """
    Whatever stands in its texts; NUL and the like, which no database keeps, become U+FFFD where a text is searched for.
    """
    about = alert(
        labels={word: word},
        annotations={word: word},
        acknowledged=Acknowledgement(word, AT, word),
    )
    tracked = TrackedAlert(about, AT, (AT,), False, about.fingerprint)
    thread = NotificationGroup("t", word, (word,), about.labels, AT, members=frozenset({about.fingerprint}))
    message_sent = notification(title=word, lines=(word,), alerts=(about,))
    kept = word.replace("\0", "\ufffd")

    def story(connection: Connection) -> None:
        repository.save(connection, PipelineState(), PipelineState({about.fingerprint: tracked}, {"t": thread}))
        alerts.save(
            connection, [AlertRecord(word, about.fingerprint, ActiveAlert(about), AlertChange(about, AT, word))]
        )
        event_log.subscribe(connection, "notify", from_start=True)
        outbox.enqueue(connection, "channel:x", word, message_sent.as_dict(), AT, word)
        audit_log.record(connection, AuditEntry(AT, Actor(word, "token"), word, {"fact": word}))
        repository.record_channel_failure(connection, word, word, AT, permanent=False)
        repository.save_notes(connection, [("f", StageNote("route", word))], AT)
        repository.save_handle(connection, "t", word, {word: word}, AT)
        payment_attempts.record_attempt(connection, payment_attempts.FailedAttempt(word[:90], word, AT))
        shop.record_counted(connection, "b", {word: AT}, AT)

        assert repository.load(connection) == PipelineState({about.fingerprint: tracked}, {"t": thread})
        assert alerts.load(connection) == {kept: {about.labels: ActiveAlert(about)}}
        assert AlertChange.from_dict(event_log.read(connection, "notify")[0].body) == AlertChange(about, AT, word)
        (message,) = outbox.claim(connection, "channel:x", AT, timedelta(minutes=1))
        assert type(message_sent).from_dict(message.body) == message_sent
        assert [(entry.actor.name, entry.facts) for entry in audit_log.recent(connection)] == [(kept, {"fact": word})]
        assert repository.channel_failures(connection)[kept].message == kept
        assert repository.notes(connection, "f") == [(AT, StageNote("route", kept))]
        assert repository.load_handle(connection, "t", word) == {word: word}
        assert payment_attempts.open_attempts(connection)[kept[:90]].method == kept
        assert shop.recently_counted(connection, "b") == {kept: AT}

    await state.transaction(story)
    assert await state.transaction(quarantine.counts) == {}


SILENCE = {"starts": AT, "ends": AT, "by": "", "comment": "", "updated": AT, "announced": False}
Reader = Callable[[Connection], Any]
PLANTED: list[tuple[Table, dict[str, Any], Reader, Any]] = [
    (repository.TRACKED_ALERTS, {"fingerprint": "f", "body": {"alert": {}}}, lambda it: repository.load(it).alerts, {}),
    (repository.TRACKED_ALERTS, {"fingerprint": "f", "body": None}, lambda it: repository.load(it).alerts, {}),
    (repository.GROUPS, {"id": "t", "body": {"id": 5, "reported": []}}, lambda it: repository.load(it).groups, {}),
    (
        repository.HANDLE,
        {"group_id": "t", "channel": "x", "body": 5, "updated": AT},
        lambda it: repository.load_handle(it, "t", "x"),
        {},
    ),
    (repository.SILENCE, {"id": "s", "matchers": ['""="x"'], **SILENCE}, repository.silences, []),
    (repository.SILENCE, {"id": "s", "matchers": 5, **SILENCE}, repository.silences, []),
    (alerts.ALERT, {"rule": "r", "fingerprint": "f", "body": {"status": "on fire"}}, alerts.load, {}),
]


@pytest.mark.parametrize(("table", "row", "read", "rest"), PLANTED)
async def test_an_unreadable_row_is_quarantined_and_reported(state, clock, table, row, read, rest):
    """
    Readers go on without it; it stays in the database, is counted, and toban is not well until somebody has seen it.
    """
    await state.transaction(lambda connection: connection.execute(insert(table).values(**row)))
    assert await state.transaction(read) == rest
    assert await state.transaction(read) == rest

    (kept,) = await state.transaction(quarantine.rows)
    assert (kept.source, kept.at) == (table.name, clock.now())
    assert all(str(value) in kept.content for value in row.values() if isinstance(value, str))
    assert await state.transaction(lambda connection: connection.execute(select(table)).all()) == []
    await state.quarantine.refresh()
    assert (state.health().ok, state.quarantine.health().ok) == (True, False)
    assert f"1 of {table.name}" in state.quarantine.health().message

    assert await state.transaction(lambda connection: quarantine.forget(connection, kept.id))
    await state.quarantine.refresh()
    assert state.quarantine.health().ok


async def test_rows_beside_an_unreadable_one_are_read(state):
    """
    In their order.
    """
    good = [silence(name, Matcher("a", MatchOperator.EQUAL, "b")) for name in ("s1", "s3")]

    def plant(connection: Connection) -> None:
        for one in [good[0], silence("s2", Matcher("a", MatchOperator.EQUAL, "b")), good[1]]:
            repository.save_silence(connection, one)
        connection.execute(text("UPDATE notify_silence SET matchers = '[\"{\"]' WHERE id = 's2'"))

    await state.transaction(plant)
    assert await state.transaction(repository.silences) == good


async def test_times_out_of_range_are_read_as_its_ends(state):
    """
    It took a silence that ended in the year 10000, and could not start any more.
    """

    def plant(connection: Connection) -> list[Silence]:
        repository.save_silence(connection, silence("s", Matcher("a", MatchOperator.EQUAL, "b")))
        connection.execute(text("UPDATE notify_silence SET ends = 253402300800000"))
        return repository.silences(connection, AT)

    (found,) = await state.transaction(plant)
    assert found.ends == datetime(2200, 1, 1, tzinfo=UTC)


async def test_an_unreadable_message_does_not_block_the_queue(state, clock):
    """
    It counts as dropped, so that the counts of the queue are right.
    """
    sent = []

    async def send(message: outbox.OutboxMessage) -> None:
        if not isinstance(message.body, dict):
            raise outbox.UnreadableMessageError("no message")
        sent.append(message.key)

    def put(connection: Connection) -> None:
        for key, body in (("a", 5), ("b", {})):
            outbox.enqueue(connection, "queue", key, body, clock.now(), "ordered")

    await state.transaction(put)
    await outbox.drain(state, "queue", send, clock=clock)
    tally = await state.transaction(lambda connection: outbox.counts(connection, "queue"))
    assert sent == ["b"]
    assert (tally.enqueued, tally.sent, tally.dropped) == (2, 1, {"unreadable": 1})
    (kept,) = await state.transaction(quarantine.rows)
    assert (kept.source, kept.key, kept.content) == ("outbox", "queue a", "5")


async def test_an_unreadable_event_is_skipped(state, clock):
    """
    By what reads it, in the transaction in which the cursor goes on.
    """

    def story(connection: Connection) -> list[AlertChange]:
        event_log.subscribe(connection, "notify", from_start=True)
        event_log.append(connection, TOPIC, {"alert": 5}, clock.now())
        event_log.append(connection, TOPIC, AlertChange(alert(), AT).as_dict(), clock.now())
        changes = event_log.read(connection, "notify")
        event_log.commit(connection, "notify", changes[-1].position)
        return quarantine.readable_rows(
            connection, event_log.EVENTS, changes, lambda it: AlertChange.from_dict(it.body)
        )

    assert await state.transaction(story) == [AlertChange(alert(), AT)]
    assert await state.transaction(quarantine.counts) == {"event": 1}


async def test_a_skipped_item_is_reported_until_it_recovers():
    """
    And counted once, however often it fails; what nobody tries again is forgotten.
    """
    clock, meters = FakeClock(), MetricRegistry()

    async def transaction(work: Callable[[Connection], Any]) -> dict[str, int]:
        return {"event": 3}

    one = Quarantine(transaction, clock, meters)
    failures = [ItemFailure("alert", str(n), "ZeroDivisionError: x") for n in range(7)]
    for _ in range(3):
        one.report("notify", failures)
    one.report("page", [ItemFailure("page part", "shop", "KeyError: y")])
    assert "alert 0 is skipped: ZeroDivisionError: x" in one.health().message
    assert "3 more items are skipped" in one.health().message
    assert meters.value(quarantine.SKIPPED, part="alert") == 7
    one.report("notify", [])
    assert one.health().message == "page part shop is skipped: KeyError: y"
    clock.advance(timedelta(minutes=16).total_seconds())
    assert one.health().ok
    await one.refresh()
    assert (one.health().ok, meters.value(ROWS, source="event")) == (False, 3)


async def test_an_unreadable_row_is_moved_in_the_same_transaction(state):
    """
    A crash between the two would have left a change behind the cursor for good, told by nobody.
    """

    def passed_over(connection: Connection) -> int:
        event_log.subscribe(connection, "notify", from_start=True)
        event_log.append(connection, TOPIC, {"alert": 5}, AT)
        changes = event_log.read(connection, "notify")
        quarantine.readable_rows(connection, event_log.EVENTS, changes, lambda it: AlertChange.from_dict(it.body))
        event_log.commit(connection, "notify", changes[-1].position)
        return sum(quarantine.counts(connection).values())

    def fails(connection: Connection) -> None:
        passed_over(connection)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await state.transaction(fails)
    assert await state.transaction(quarantine.counts) == {}
    assert await state.transaction(passed_over) == 1
    assert await state.transaction(quarantine.counts) == {"event": 1}


async def test_a_row_written_in_place_of_an_unreadable_one_stays(state):
    """
    The old row is in quarantine, not the new one.
    """
    bad = {"group_id": "t", "channel": "x", "body": 5, "updated": AT}
    await state.transaction(lambda connection: connection.execute(insert(repository.HANDLE).values(**bad)))

    def instead(connection: Connection) -> None:
        assert repository.load_handle(connection, "t", "x") == {}
        repository.save_handle(connection, "t", "x", {"ts": "1.2"}, AT)

    await state.transaction(instead)
    assert await state.transaction(lambda connection: repository.load_handle(connection, "t", "x")) == {"ts": "1.2"}
    (kept,) = await state.transaction(quarantine.rows)
    assert '"body": "5"' in kept.content
