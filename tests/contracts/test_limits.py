"""The last review of thresholds, applied limits and true incidents, as both databases keep them."""

from dataclasses import replace

from sqlalchemy import update

from tests.review_fixtures import DAY, INCIDENT, MISSED, NOW, applied_limit, judged, proposal
from toban.core.incident_record import IncidentRecord
from toban.incidents import lifecycle
from toban.incidents import repository as incidents
from toban.incidents.incident import EntryKind, IncidentState, TimelineEntry
from toban.incidents.true_incidents import TrueIncidents
from toban.review import limit_repository as repository
from toban.review.follow_up import FiringFigures, FollowUp, Verdict
from toban.review.proposal_run import ProposalRun
from toban.review.proposals import Refusal

RUN = ProposalRun(
    NOW,
    "ann",
    44,
    44,
    NOW + DAY,
    (proposal(),),
    (Refusal("slow", "no limit saves enough", (judged(missed=(MISSED,)),)),),
    12,
    (INCIDENT,),
    (FollowUp(1, NOW, Verdict.MISSES, 28.0, FiringFigures(9, 2.25, 3, 1, 0.5), FiringFigures(1, 0.25, 0, 0, None)),),
)


async def test_the_last_run_is_read_as_it_was_written(state):
    def work(connection):
        empty = repository.last_run(connection)
        repository.save_run(connection, replace(RUN, by="bob", proposals=()), NOW)
        repository.save_run(connection, RUN, NOW + DAY)
        return empty, repository.last_run(connection), connection.execute(repository.RUNS.select()).all()

    empty, last, rows = await state.transaction(work)
    assert (empty, last, len(rows)) == (None, RUN, 1)


async def test_a_run_that_can_not_be_read_is_none(state):
    """
    It is moved to the quarantine: the next review makes another.
    """

    def work(connection):
        repository.save_run(connection, RUN, NOW)
        connection.execute(update(repository.RUNS).values(body={"started": "yesterday"}))

    await state.transaction(work)
    assert await state.transaction(repository.last_run) is None


async def test_applied_limits_are_listed_newest_first_and_kept_for_a_time(state):
    old, new, false = applied_limit("a", -1), applied_limit("b"), applied_limit("c")

    def work(connection):
        numbers = [repository.add_applied(connection, it) for it in (old, new, false)]
        repository.remove_applied(connection, numbers[-1])
        found = repository.applied(connection)
        repository.prune(connection, NOW)
        return numbers, found, repository.applied(connection)

    (first, second, _), found, kept = await state.transaction(work)
    assert found == [replace(new, id=second), replace(old, id=first)]
    assert kept == [replace(new, id=second)]


async def test_incidents_are_true_by_what_people_and_runbooks_did(state):
    """
    An answer, a snooze and a runbook that only started are no sign of one.
    """
    acts = {
        1: [TimelineEntry(1, NOW, EntryKind.ACKNOWLEDGED, "ann"), TimelineEntry(1, NOW, EntryKind.SNOOZED, "ann")],
        2: [TimelineEntry(2, NOW, EntryKind.NOTE, "ann", {"text": "PayPal"})],
        3: [TimelineEntry(3, NOW, EntryKind.RUNBOOK, "", {"event": "started"})],
        4: [TimelineEntry(4, NOW, EntryKind.RUNBOOK, "", {"event": "acted"})],
        5: [TimelineEntry(5, NOW, EntryKind.RESOLVED, "ann", {"comment": ""})],
        6: [TimelineEntry(6, NOW, EntryKind.RESOLVED, "ann", {"comment": "enlarged the volume"})],
        7: [TimelineEntry(7, NOW, EntryKind.PRIORITY, "", {})],
        8: [],
        9: [],
        10: [TimelineEntry(10, NOW, EntryKind.NOTE, "ann", {"text": "long ago"})],
    }

    def work(connection):
        for number, entries in acts.items():
            by = "bob" if number == 8 else ""
            opened = NOW - 30 * DAY if number == 10 else NOW
            made = lifecycle.opened(number, f"Incident {number}", "P2", opened, opened, by).incident
            ended = {"state": IncidentState.RESOLVED, "resolved": opened + DAY} if number > 8 else {}
            summary = "The disk was full." if number == 9 else ""
            incidents.save_incident(connection, replace(made, summary=summary, **ended))
            incidents.add_entries(connection, entries)

    await state.transaction(work)
    found = await TrueIncidents(state).true_incidents(NOW - DAY, NOW + DAY)
    assert [(it.id, it.evidence) for it in found] == [
        (2, "note"),
        (4, "runbook"),
        (6, "resolved"),
        (8, "declared"),
        (9, "summary"),
    ]
    assert found[0] == IncidentRecord(2, "Incident 2", NOW, None, "note")
    assert found[-1].ends == NOW + DAY
    assert await TrueIncidents(state).true_incidents(NOW - 9 * DAY, NOW - 8 * DAY) == []
