"""Commands on incidents. The API, the CLI, the console and the answers of channels execute the same ones."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection

from toban.core import input_limits
from toban.core.actor import Actor
from toban.core.acts import TOPIC as ACT_TOPIC
from toban.core.acts import Act
from toban.core.errors import InvalidCommandError, NotFoundError
from toban.core.input_limits import repair_surrogates
from toban.core.notification import NotificationKind
from toban.core.ports import Clock
from toban.incidents import lifecycle, repository
from toban.incidents.incident import EntryKind, Incident, IncidentState, TimelineEntry, checked_priority, most_urgent
from toban.incidents.incident_messages import summaries_of
from toban.incidents.lifecycle import Change
from toban.incidents.service import IncidentService
from toban.state import audit_log, event_log
from toban.state.audit_log import AuditEntry
from toban.state.database import State

TITLE_LENGTH: Final = 200
ACTS: Final = frozenset({"added a note to an incident", "added an action item", "wrote the summary of an incident"})
"""Actions that say that somebody did something about the alerts of an incident; an answer only says they saw it."""

MAX_DECLARED: Final = 100
"""Incidents that may be open when another one is declared."""
LONGEST_SNOOZE: Final = timedelta(days=7)
SUMMARY_LENGTH: Final = 20_000


@dataclass(frozen=True, slots=True)
class IncidentDetails:
    """An incident and its timeline, oldest first."""

    incident: Incident
    timeline: Sequence[TimelineEntry]


class IncidentCommands:
    """
    Changes incidents; each change, its timeline, its messages and its row of the audit log are one transaction.

    ``by`` is the name of a person that a command acts for; without it, the actor's. All raise ``NotFoundError``,
    ``InvalidCommandError`` and ``StateError``.
    """

    def __init__(
        self,
        service: IncidentService,
        state: State,
        clock: Clock,
        also: Callable[[Connection], None] = lambda _: None,
    ) -> None:
        """``also`` writes something else in the transaction of a change."""
        self._service = service
        self._state = state
        self._clock = clock
        self._also = also

    def writing(self, also: Callable[[Connection], None]) -> "IncidentCommands":
        """Return commands that write something else too in the transaction of a change."""
        return IncidentCommands(self._service, self._state, self._clock, also)

    async def incidents(self, limit: int = 50, before: int | None = None) -> list[Incident]:
        """Return the newest incidents, newest first."""
        return await self._state.transaction(lambda connection: repository.incidents(connection, limit, before))

    async def between(self, since: datetime, until: datetime) -> list[Incident]:
        """Return the incidents that were open at some time between two times, oldest first."""
        return await self._state.transaction(lambda connection: repository.incidents_between(connection, since, until))

    def open_now(self) -> list[Incident]:
        """Return the open incidents, as the last decision left them."""
        return self._service.book.open

    async def details(self, number: int) -> IncidentDetails:
        """Return one incident with its timeline."""

        def work(connection: Connection) -> IncidentDetails:
            return IncidentDetails(_found(connection, number), repository.timeline(connection, number))

        return await self._state.transaction(work)

    async def acknowledge(self, number: int, actor: Actor, comment: str = "", by: str = "") -> Incident:
        """Acknowledge an open incident: nobody else is called."""
        comment, policy = command_text("comment", comment), self._service.policy

        def change(incident: Incident, now: datetime) -> Change:
            return lifecycle.acknowledged(policy, _open(incident), by or actor.name, now, comment)

        return await self.change(number, change, (actor, by), "acknowledged an incident", comment=comment)

    async def unacknowledge(self, number: int, actor: Actor, by: str = "") -> Incident:
        """Take an acknowledgement back: people are called again."""

        def change(incident: Incident, now: datetime) -> Change:
            if _open(incident).state is not IncidentState.ACKNOWLEDGED:
                raise InvalidCommandError(f"incident {incident.id} is not acknowledged")
            return lifecycle.unacknowledged(incident, by or actor.name, now)

        return await self.change(number, change, (actor, by), "unacknowledged an incident")

    async def snooze(self, number: int, duration: timedelta, actor: Actor, comment: str = "", by: str = "") -> Incident:
        """Let nobody be called for a while; then the escalation begins again."""
        comment, policy = command_text("comment", comment), self._service.policy
        if not timedelta(minutes=1) <= duration <= LONGEST_SNOOZE:
            raise InvalidCommandError("must be between 1m and 7d", "duration")

        def change(incident: Incident, now: datetime) -> Change:
            return lifecycle.acknowledged(policy, _open(incident), by or actor.name, now, comment, until=now + duration)

        facts = {"seconds": duration.total_seconds(), "comment": comment}
        return await self.change(number, change, (actor, by), "snoozed an incident", **facts)

    async def note(self, number: int, text: str, actor: Actor, by: str = "") -> Incident:
        """Add a note to the timeline; whoever writes one still works on the incident."""
        text, policy = command_text("text", text, required=True), self._service.policy

        def change(incident: Incident, now: datetime) -> Change:
            noted = Change(incident, now).with_fields().noted(EntryKind.NOTE, by or actor.name, text=text)
            return lifecycle.still_working(policy, noted)

        return await self.change(number, change, (actor, by), "added a note to an incident")

    async def assign(self, number: int, person: str, actor: Actor, by: str = "") -> Incident:
        """Assign an incident to a person; they are told."""
        policy = self._service.policy
        known = policy.on_call.people
        if known and person not in known:
            raise InvalidCommandError(f"unknown person {person[:100]!r}: known are {', '.join(known)}", "person")
        person = command_text("person", person, input_limits.PERSON_LENGTH, required=True)

        def change(incident: Incident, now: datetime) -> Change:
            found = Change(_open(incident), now).with_fields(assignee=person)
            found = found.noted(EntryKind.ASSIGNED, by or actor.name, person=person)
            return found.sent(
                policy,
                NotificationKind.NOTICE,
                policy.channels_of(person, 0),
                "assigned",
                by=policy.name_of(by or actor.name),
                person=policy.name_of(person),
            )

        return await self.change(number, change, (actor, by), "assigned an incident", person=person)

    async def escalate(self, number: int, actor: Actor, by: str = "") -> Incident:
        """Call everybody now."""
        policy = self._service.policy

        def change(incident: Incident, now: datetime) -> Change:
            last = max(len(policy.settings.steps_of(incident.priority)) - 1, 0)
            found = Change(_open(incident), now).noted(EntryKind.ESCALATED, by or actor.name)
            found = lifecycle.triggered_again(found)
            if found.incident.escalation:
                found = found.with_fields(escalation=replace(found.incident.escalation, step=last, number=1))
            return found

        return await self.change(number, change, (actor, by), "escalated an incident")

    async def set_priority(self, number: int, priority: str, actor: Actor, by: str = "") -> Incident:
        """Change the priority of an open incident; raising it calls people again."""
        try:
            checked = checked_priority(priority)
        except ValueError as error:
            raise InvalidCommandError(str(error), "priority") from error

        def change(incident: Incident, now: datetime) -> Change:
            return lifecycle.with_priority(Change(_open(incident), now), checked, by or actor.name)

        return await self.change(number, change, (actor, by), "changed the priority of an incident", priority=priority)

    async def resolve(self, number: int, actor: Actor, comment: str = "", by: str = "") -> Incident:
        """Resolve an incident, whatever its alerts do; one that fires on calls nobody until it fires anew."""
        comment, policy = command_text("comment", comment), self._service.policy

        def change(incident: Incident, now: datetime) -> Change:
            return lifecycle.resolved(policy, _open(incident), now, by or actor.name, comment)

        return await self.change(number, change, (actor, by), "resolved an incident", comment=comment)

    async def reopen(self, number: int, actor: Actor, by: str = "") -> Incident:
        """Open a resolved incident again."""

        def change(incident: Incident, now: datetime) -> Change:
            if incident.is_open:
                raise InvalidCommandError(f"incident {incident.id} is open")
            if incident.merged_into:
                raise InvalidCommandError(f"incident {incident.id} was merged into {incident.merged_into}")
            return lifecycle.reopened(incident, now, by or actor.name)

        return await self.change(number, change, (actor, by), "re-opened an incident")

    async def declare(self, title: str, priority: str, actor: Actor, text: str = "", by: str = "") -> Incident:
        """Declare an incident that no alert has seen; people are called as for any other."""
        title = command_text("title", title, TITLE_LENGTH, required=True)
        text = command_text("text", text)
        try:
            checked = checked_priority(priority)
        except ValueError as error:
            raise InvalidCommandError(str(error), "priority") from error
        now = self._clock.now()

        def work(connection: Connection) -> Incident:
            known = repository.load(connection, now)
            if len(known.open) >= MAX_DECLARED:
                raise InvalidCommandError(f"{MAX_DECLARED} incidents are open: resolve some of them first")
            change = lifecycle.opened(known.next_id, title, checked, now, now, by or actor.name)
            if text:
                change = change.noted(EntryKind.NOTE, by or actor.name, text=text)
            self._service.apply(connection, change)
            facts = {"incident": change.incident.id, "title": title, "priority": priority, **_for(actor, by)}
            audit_log.record(connection, AuditEntry(now, actor, "declared an incident", facts))
            return change.incident

        incident = await self._state.transaction(work)
        await self._service.decided()
        return incident

    async def merge(self, number: int, into: int, actor: Actor, by: str = "") -> Incident:
        """Move the alerts and the timeline of an incident to another one, and close it."""
        now, policy = self._clock.now(), self._service.policy
        if number == into:
            raise InvalidCommandError("an incident can't be merged into itself", "into")

        def work(connection: Connection) -> Incident:
            source, target = _found(connection, number), _open(_found(connection, into))
            if source.merged_into:
                raise InvalidCommandError(f"incident {number} was merged into {source.merged_into}")
            alerts = list(source.alerts.values())
            change = Change(target, now).with_fields(
                alerts={**source.alerts, **target.alerts}, starts=min(source.starts, target.starts)
            )
            change = change.noted(EntryKind.MERGED, by or actor.name, source=number)
            urgent = most_urgent(alerts, target.priority)
            if urgent < target.priority:
                change = lifecycle.with_priority(change, urgent, by or actor.name)
            closed = (
                lifecycle.resolved(policy, source, now, by or actor.name) if source.is_open else Change(source, now)
            )
            closed = closed.with_fields(merged_into=into, alerts={}, is_out_of_step=False)
            repository.move_entries(connection, number, into)
            self._service.apply(connection, closed)
            self._service.apply(connection, change)
            facts = {"incident": number, "into": into, **_for(actor, by)}
            audit_log.record(connection, AuditEntry(now, actor, "merged an incident", facts))
            return change.incident

        incident = await self._state.transaction(work)
        await self._service.decided()
        return incident

    async def split(self, number: int, alert: str, actor: Actor, by: str = "") -> Incident:
        """Take the alerts of a name or fingerprint out of an incident, into a new one; return that."""
        now = self._clock.now()

        def work(connection: Connection) -> Incident:
            source = _open(_found(connection, number))
            moved = {key: it for key, it in source.alerts.items() if alert in (it.name, key)}
            if not moved:
                raise NotFoundError(f"incident {number} has no alert {repair_surrogates(alert)[:100]!r}")
            if len(moved) == len(source.alerts):
                raise InvalidCommandError(f"incident {number} has no other alerts: there is nothing to split")
            first = min(moved.values(), key=lambda it: it.starts)
            next_id = repository.load(connection, now).next_id
            change = lifecycle.opened(
                next_id,
                priority=most_urgent(list(moved.values())),
                starts=first.starts,
                now=now,
                component=source.component,
                **summaries_of(first, "title"),
            )
            change = change.with_fields(alerts=moved).noted(EntryKind.SPLIT, by or actor.name, source=number)
            rest = {key: it for key, it in source.alerts.items() if key not in moved}
            left = Change(source, now).with_fields(alerts=rest)
            self._service.apply(connection, left.noted(EntryKind.SPLIT, by or actor.name, into=next_id))
            self._service.apply(connection, change)
            facts = {"incident": number, "into": next_id, "alert": alert, **_for(actor, by)}
            audit_log.record(connection, AuditEntry(now, actor, "split an incident", facts))
            return change.incident

        incident = await self._state.transaction(work)
        await self._service.decided()
        return incident

    async def set_summary(self, number: int, text: str, actor: Actor) -> Incident:
        """Write what happened, for the report."""
        text = command_text("text", text, SUMMARY_LENGTH)

        def change(incident: Incident, now: datetime) -> Change:
            return Change(incident, now).with_fields(summary=text)

        return await self.change(number, change, (actor, ""), "wrote the summary of an incident")

    async def change(
        self,
        number: int,
        change: Callable[[Incident, datetime], Change],
        who: tuple[Actor, str],
        action: str,
        **facts: Any,
    ) -> Incident:
        """Change an incident; ``who`` does, and for whom if that is another person. The rest is for the audit log."""
        now, (actor, by) = self._clock.now(), who

        def work(connection: Connection) -> Incident:
            after = change(_found(connection, number), now)
            self._service.apply(connection, after)
            audit_log.record(
                connection, AuditEntry(now, actor, action, {"incident": number, **facts, **_for(actor, by)})
            )
            if action in ACTS:
                act = Act("note", now, actor.name, alerts=tuple(after.incident.alerts))
                event_log.append(connection, ACT_TOPIC, act.as_dict(), now)
            self._also(connection)
            return after.incident

        incident = await self._state.transaction(work)
        await self._service.decided()
        return incident


def _for(actor: Actor, by: str) -> dict[str, str]:
    """Return for whom somebody acts, if that is another person: a command on a machine acts for who is named there."""
    return {"by": by} if by and by != actor.name else {}


def _found(connection: Connection, number: int) -> Incident:
    found = repository.incident(connection, number) if abs(number) < 2**62 else None
    if found is None:
        raise NotFoundError(f"incident {number} not found")
    return found


def _open(incident: Incident) -> Incident:
    if not incident.is_open:
        raise InvalidCommandError(f"incident {incident.id} is resolved: re-open it first")
    return incident


def command_text(field: str, text: str, longest: int = input_limits.COMMENT_LENGTH, *, required: bool = False) -> str:
    """Return what somebody wrote into a field of a command. Raises ``InvalidCommandError``."""
    try:
        checked = input_limits.checked_text(text.strip(), longest)
    except ValueError as error:
        raise InvalidCommandError(str(error), field) from error
    if required and not checked:
        raise InvalidCommandError("must not be empty", field)
    return checked
