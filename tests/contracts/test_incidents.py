"""Incidents, timelines, runs and the stop switch, as both databases keep them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from tests.notifications import alert
from toban.core.impact import Impact
from toban.incidents import lifecycle, repository
from toban.incidents.book import IncidentBook
from toban.incidents.incident import ActionItem, EntryKind, TimelineEntry
from toban.runbooks import repository as runs
from toban.runbooks.action import Plan
from toban.runbooks.run import Run, RunState, StepRecord, StopSwitch

NOW = datetime(2026, 3, 4, 2, 14, tzinfo=UTC)


def incident(number: int):
    found = lifecycle.opened(number, "The database is down", "P1", NOW, NOW, "ann").incident
    impact = Impact("JPY", 120_000.5, 80_000, 160_000, 4_000, 12, NOW)
    items = (ActionItem(1, "Add an index", "jonas"), ActionItem(4, "Raise the limit", "", NOW))
    subject = alert()
    return replace(found, alerts={subject.fingerprint: subject}, impact=impact, action_items=items)


async def test_a_book_is_read_as_it_was_written(state):
    book = IncidentBook({1: incident(1), 2: incident(2)}, {"f" * 16: alert("waits")}, 3)

    def work(connection):
        repository.save(connection, IncidentBook(), book)
        return repository.load(connection, NOW)

    assert await state.transaction(work) == book


async def test_resolved_incidents_are_loaded_while_they_may_re_open_and_listed_for_longer(state):
    ended = replace(incident(1), state=lifecycle.IncidentState.RESOLVED, resolved=NOW)

    def work(connection):
        repository.save_incident(connection, ended)
        repository.save_incident(connection, incident(2))
        late = repository.load(connection, NOW + timedelta(seconds=1))
        listed = repository.incidents(connection, 10)
        older = repository.incidents(connection, 10, before=2)
        repository.add_entries(connection, [TimelineEntry(1, NOW, EntryKind.NOTE, "ann", {"text": "x"})])
        repository.prune(connection, NOW + timedelta(days=1))
        return late, listed, older, repository.incidents(connection, 10), repository.timeline(connection, 1)

    late, listed, older, kept, timeline = await state.transaction(work)
    assert list(late.incidents) == [2]
    assert late.next_id == 3
    assert [it.id for it in listed] == [2, 1]
    assert [it.id for it in older] == [1]
    assert [it.id for it in kept] == [2]
    assert timeline == []


async def test_a_timeline_is_in_order_and_moves_with_its_alerts(state):
    entries = [TimelineEntry(number, NOW, EntryKind.NOTE, "ann", {"text": str(number)}) for number in (1, 2, 1)]

    def work(connection):
        repository.add_entries(connection, entries)
        repository.move_entries(connection, 2, 1)
        return repository.timeline(connection, 1), repository.timeline(connection, 1, limit=2)

    found, newest = await state.transaction(work)
    assert [it.facts["text"] for it in found] == ["1", "2", "1"]
    assert newest == found[1:]


async def test_runs_and_the_switch_are_read_as_they_were_written(state):
    plan = Plan("restart m1", "v1", ("m1",), {"a": [1]}, needs_approval=True)
    record = StepRecord(0, "run-1.0", "fly_restart", plan, True, NOW, NOW, ok=True, text="restarted", by="ann")
    new = Run(0, "fix", "v", alert(), "ask", RunState.ASKED, NOW, "ann", 1, (record,), plan, NOW, "ben")

    def work(connection):
        first, second = runs.add_run(connection, new), runs.add_run(connection, replace(new, runbook="other"))
        runs.save_run(connection, second.finished(RunState.FAILED, NOW, "no"))
        runs.save_stop_switch(connection, StopSwitch(True, NOW, "ann", "strange"))
        runs.save_stop_switch(connection, StopSwitch(False, NOW, "ben", ""))
        later = NOW + timedelta(days=10)
        open_ones = runs.recent_runs(connection, later)
        runs.prune(connection, later)
        return first, open_ones, runs.runs(connection, 10), runs.stop_switch(connection)

    first, open_ones, kept, switch = await state.transaction(work)
    assert first == replace(new, id=1)
    assert open_ones == kept == [first]
    assert switch == StopSwitch(False, NOW, "ben", "")
