"""Event log, outbox and audit log, on SQLite and on PostgreSQL alike."""

import asyncio
from datetime import timedelta

from toban.core.actor import TOBAN, Actor
from toban.core.errors import DeliveryError
from toban.state import audit_log, event_log, outbox
from toban.state.audit_log import AuditEntry


async def test_a_consumer_reads_each_event_once_and_in_order(state, clock):
    """
    It begins at the end when it is new, and goes on where it was.
    """

    def story(connection):
        event_log.append(connection, "alert", {"n": 0}, clock.now())
        event_log.subscribe(connection, "notify")
        for n in (1, 2, 3):
            event_log.append(connection, "alert", {"n": n}, clock.now())
        first = event_log.read(connection, "notify", limit=2)
        event_log.commit(connection, "notify", first[-1].position)
        event_log.subscribe(connection, "notify")
        return [change.body["n"] for change in first], [c.body["n"] for c in event_log.read(connection, "notify")]

    assert await state.transaction(story) == ([1, 2], [3])


async def test_events_are_pruned_after_all_consumers_have_read_them(state, clock):
    """
    A reader that is away for long finds what it has missed.
    """

    def story(connection):
        event_log.subscribe(connection, "slow")
        event_log.subscribe(connection, "quick")
        for n in (1, 2):
            event_log.append(connection, "alert", {"n": n}, clock.now())
        event_log.commit(connection, "quick", 2)
        event_log.commit(connection, "slow", 1)
        later = clock.now() + timedelta(days=60)
        return event_log.prune(connection, later), [c.body["n"] for c in event_log.read(connection, "slow")]

    assert await state.transaction(story) == (1, [2])


async def test_audit_log_returns_newest_entries_first(state, clock):
    """
    Actors and facts come back as they were given.
    """
    ann = Actor("ann", "local socket")

    def story(connection):
        audit_log.record(connection, AuditEntry(clock.now(), TOBAN, "started", {"version": "1"}))
        audit_log.record(connection, AuditEntry(clock.now(), ann, "created a silence", {"silence": "disk"}))
        return audit_log.recent(connection), audit_log.recent(connection, actor=TOBAN.name)

    entries, starts = await state.transaction(story)
    assert [(it.actor, it.action) for it in entries] == [(ann, "created a silence"), (TOBAN, "started")]
    assert starts[0].facts == {"version": "1"}
    assert starts[0].at == clock.now()


async def put(state, clock, *keys):
    for key in keys:
        await state.transaction(
            lambda connection, key=key: outbox.enqueue(connection, "ops", key, {"key": key}, clock.now())
        )


async def counts(state):
    return await state.transaction(lambda connection: outbox.counts(connection, "ops"))


async def test_a_sent_message_is_not_sent_again(state, clock):
    """
    In = out + dropped + waiting.
    """
    await put(state, clock, "a", "b")
    sent = []

    async def send(message):
        sent.append(message.key)

    assert await outbox.drain(state, "ops", send, clock=clock) == 2
    assert await outbox.drain(state, "ops", send, clock=clock) == 0
    assert sent == ["a", "b"]
    assert await counts(state) == outbox.QueueCounts(sent=2)


async def test_a_failed_message_is_retried_and_blocks_no_other(state, clock):
    """
    The message behind it goes out at once; it follows under the same key when the receiver is back.
    """
    await put(state, clock, "a", "b")
    sent = []

    async def send(message):
        if message.key == "a" and message.attempts < 3:
            raise DeliveryError("ops: answered 503", after=30)
        sent.append((message.key, message.attempts))

    await outbox.drain(state, "ops", send, clock=clock)
    assert sent == [("b", 1)]
    assert (await counts(state)).waiting == 1
    for _ in range(2):
        clock.advance(30)
        await outbox.drain(state, "ops", send, clock=clock)
    assert sent == [("b", 1), ("a", 3)]


async def test_a_permanent_failure_is_dropped_and_counted(state, clock):
    """
    Nothing disappears without a reason.
    """
    await put(state, clock, "a")

    async def send(message):
        raise DeliveryError("ops: answered 404", permanent=True)

    await outbox.drain(state, "ops", send, clock=clock)
    counted = await counts(state)
    assert counted == outbox.QueueCounts(dropped={"rejected": 1})
    assert counted.enqueued == 1


async def test_a_message_is_sent_again_after_its_lease_expires(state, clock):
    """
    Claimed and never marked: after the lease it is sent again.
    """
    await put(state, clock, "a")
    lease = timedelta(minutes=1)

    def claim(connection):
        return outbox.claim(connection, "ops", clock.now(), lease)

    [lost] = await state.transaction(claim)
    assert await state.transaction(claim) == []
    clock.advance(61)
    [again] = await state.transaction(claim)
    assert (again.key, again.attempts) == ("a", 2)
    await state.transaction(lambda connection: outbox.mark_delivered(connection, lost))
    await state.transaction(lambda connection: outbox.mark_delivered(connection, again))
    assert await counts(state) == outbox.QueueCounts(sent=1)


async def test_an_exclusive_instance_releases_leases_of_a_crash(state, clock):
    """
    At once, and not what only rests after trouble.
    """
    now = clock.now()

    def lend(connection):
        for key in ("lent", "rests"):
            outbox.enqueue(connection, "ops", key, {}, now)
        _, rests = outbox.claim(connection, "ops", now, timedelta(minutes=1), limit=2)
        outbox.postpone(connection, rests, now + timedelta(seconds=30), "busy")

    def taken(connection):
        outbox.release_leases(connection, "ops", now)
        return [(it.key, it.attempts) for it in outbox.claim(connection, "ops", now, timedelta(minutes=1), limit=2)]

    await state.transaction(lend)
    assert await state.transaction(taken) == [("lent", 2)]


async def test_a_hanging_send_is_cancelled_at_the_end_of_its_lease(state, clock):
    """
    It counts as a failed try.
    """
    await put(state, clock, "a")

    async def send(message):
        await asyncio.Event().wait()

    await outbox.drain(state, "ops", send, clock=clock, lease=timedelta(milliseconds=10))
    assert (await counts(state)).waiting == 1


async def test_messages_of_an_ordering_key_stay_in_order(state, clock):
    """
    What failed goes before what was put on its line after it; other lines and what stands on none pass.
    """
    arrived = []

    async def send(message):
        if message.key == "a1" and message.attempts == 1:
            raise DeliveryError("busy")
        arrived.append(message.key)

    def fill(connection):
        for key, line in (("a1", "a"), ("a2", "a"), ("b1", "b"), ("free", "")):
            outbox.enqueue(connection, "ops", key, {}, clock.now(), line)

    await state.transaction(fill)
    await outbox.drain(state, "ops", send, clock=clock)
    assert arrived == ["b1", "free"]
    clock.advance(60)
    await outbox.drain(state, "ops", send, clock=clock)
    assert arrived == ["b1", "free", "a1", "a2"]


async def test_the_outcome_and_its_effects_are_one_transaction(state, clock):
    """
    What the sender returns is done when it was sent; what its trouble causes, when it is postponed or dropped.
    """
    failures = []

    async def send(message):
        if message.key == "bad":
            raise DeliveryError("no such room", permanent=True)
        return lambda connection: audit_log.record(
            connection, AuditEntry(clock.now(), TOBAN, "sent", {"key": message.key})
        )

    def on_failure(connection, message, error):
        failures.append((message.key, str(error), error.permanent))
        outbox.enqueue(connection, "other", message.key, {}, clock.now())

    def fill(connection):
        for key in ("bad", "good"):
            outbox.enqueue(connection, "ops", key, {}, clock.now())

    def scrape(connection):
        return [entry.facts["key"] for entry in audit_log.recent(connection)], outbox.backlog(connection, "other").size

    await state.transaction(fill)
    await outbox.drain(state, "ops", send, clock=clock, on_failure=on_failure)
    assert failures == [("bad", "no such room", True)]
    assert await state.transaction(scrape) == (["good"], 1)
    assert await state.transaction(lambda connection: outbox.next_due(connection, "ops")) is None
