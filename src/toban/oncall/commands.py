"""Commands on the on-call schedule. The API, the CLI and the console execute the same ones."""

import hashlib
import secrets
from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection

from toban.core import input_limits
from toban.core.actor import Actor
from toban.core.errors import InvalidCommandError, NotFoundError
from toban.core.ports import Clock
from toban.oncall import repository
from toban.oncall.calendar_feed import calendar_feed
from toban.oncall.policy import OnCallPolicy
from toban.oncall.schedule import StoredOverride
from toban.oncall.schedule_messages import schedule_notices
from toban.oncall.schedule_settings import wall_period
from toban.oncall.service import OnCallService
from toban.oncall.settings import Person
from toban.state import audit_log
from toban.state.audit_log import AuditEntry
from toban.state.database import State
from toban.state.message_queue import MessageQueue

LONGEST: Final = timedelta(days=366)
MAX_OPEN: Final = 500
"""Overrides that have not ended."""


class OnCallCommands:
    """
    Changes the schedule; each change, its messages and its row of the audit log are one transaction.

    Times without a zone are on the wall clock of the schedule's. All raise ``NotFoundError``, ``InvalidCommandError``
    and ``StateError``.
    """

    def __init__(
        self,
        service: OnCallService,
        policy: Callable[[], OnCallPolicy],
        queue: MessageQueue,
        state: State,
        clock: Clock,
        changed: Callable[[], Awaitable[None]],
    ) -> None:
        """``changed`` is called after each change."""
        self._service = service
        self._policy = policy
        self._queue = queue
        self._state = state
        self._clock = clock
        self._changed = changed

    async def cover(
        self, person: str, by: str, starts: datetime, ends: datetime, actor: Actor, comment: str = ""
    ) -> StoredOverride:
        """Let somebody be on call in place of a person, where that person is."""
        self._known(by, "by")
        if person == by:
            raise InvalidCommandError("nobody stands in for themselves", "by")
        begin, end = self._period(starts, ends)
        self._check_on_call(person, begin, end)
        return await self._add(begin, end, by, person, actor, comment, "covered a shift")

    async def override(
        self, person: str, starts: datetime, ends: datetime, actor: Actor, comment: str = ""
    ) -> StoredOverride:
        """Let one person alone be on call, whatever the layers say."""
        self._known(person, "person")
        begin, end = self._period(starts, ends)
        return await self._add(begin, end, person, "", actor, comment, "overrode the on-call schedule")

    async def swap(
        self, person: str, starts: datetime, ends: datetime, actor: Actor, comment: str = ""
    ) -> StoredOverride:
        """Offer shifts of a person; that person stays on call until somebody takes them."""
        begin, end = self._period(starts, ends)
        if begin <= self._clock.now():
            raise InvalidCommandError("a swap must begin in the future: use a cover", "starts")
        self._check_on_call(person, begin, end)
        return await self._add(begin, end, "", person, actor, comment, "offered a swap", is_swap=True)

    async def take(self, number: int, by: str, actor: Actor) -> StoredOverride:
        """Take the shifts that somebody offered, before they begin."""
        self._known(by, "by")
        now = self._clock.now()

        def work(connection: Connection) -> StoredOverride:
            found = _found(connection, number)
            if not found.is_open:
                raise InvalidCommandError(f"{number} is no open swap")
            if found.starts <= now:
                raise InvalidCommandError("it has begun: nobody took it in time")
            if found.instead_of == by:
                raise InvalidCommandError("nobody takes their own shifts", "by")
            repository.take(connection, number, by, now)
            self._audit(connection, actor, "took a swap", number=number, by=by, person=found.instead_of)
            taken = _found(connection, number)
            self._tell(connection, "took", taken, (by, found.instead_of), actor)
            return taken

        return await self._done(await self._state.transaction(work))

    async def cancel(self, number: int, actor: Actor) -> StoredOverride:
        """Cancel an override or a swap; one that has begun ends now."""
        now = self._clock.now()

        def work(connection: Connection) -> StoredOverride:
            found = _found(connection, number)
            if found.ends <= now:
                raise InvalidCommandError("it has ended")
            if found.starts >= now or found.is_open:
                repository.delete_override(connection, number)
            else:
                repository.end_override(connection, number, now)
            facts = {"person": found.person, "instead_of": found.instead_of}
            self._audit(connection, actor, "cancelled an on-call override", number=number, **facts)
            if not found.is_open:
                reason = "cancelled" if found.instead_of else "cancelled-alone"
                self._tell(connection, reason, found, (found.person, found.instead_of), actor)
            return found

        return await self._done(await self._state.transaction(work))

    async def new_feed(self, person: str, actor: Actor) -> str:
        """Return the secret of a new calendar feed of a person; the last one ends."""
        self._known(person, "person")
        secret, now = secrets.token_urlsafe(24), self._clock.now()

        def work(connection: Connection) -> None:
            repository.save_feed(connection, person, _digest(secret), now)
            self._audit(connection, actor, "made a calendar feed", person=person)

        await self._state.transaction(work)
        return secret

    async def feed(self, secret: str, language: str = "en") -> str:
        """Return the calendar of the person whose feed has a secret. Raises ``NotFoundError``."""
        person = await self._state.transaction(lambda connection: repository.feed_owner(connection, _digest(secret)))
        known = self._service.settings.people.get(person)
        if known is None:
            raise NotFoundError("no such calendar")
        return calendar_feed(self._service.schedule, person, known.title or person, self._clock.now(), language)

    async def _add(
        self,
        begin: datetime,
        end: datetime,
        person: str,
        instead_of: str,
        actor: Actor,
        comment: str,
        action: str,
        *,
        is_swap: bool = False,
    ) -> StoredOverride:
        now = self._clock.now()
        try:
            comment = input_limits.checked_text(comment.strip(), input_limits.COMMENT_LENGTH)
        except ValueError as error:
            raise InvalidCommandError(str(error), "comment") from error
        if is_swap:
            reason, concerned = "offered", [it for it in self._service.settings.people if it != instead_of]
        else:
            # Without one whom it replaces, it replaces everybody who would be on call then.
            replaced = [one for it in self._service.schedule.shifts(begin, end) for one in it.people]
            reason, concerned = ("covered", [instead_of]) if instead_of else ("overrode", replaced)
            concerned = [person, *concerned]
        made = StoredOverride(0, begin, end, now, person, instead_of, is_swap, actor.name, comment)

        def work(connection: Connection) -> StoredOverride:
            if len(repository.overrides(connection, now)) >= MAX_OPEN:
                raise InvalidCommandError(f"there are {MAX_OPEN} overrides: cancel some of them first")
            stored = repository.add_override(connection, made)
            period = {"starts": begin.isoformat(), "ends": end.isoformat()}
            facts = {"number": stored.id, "person": person, "instead_of": instead_of, **period, "comment": comment}
            self._audit(connection, actor, action, **facts)
            self._tell(connection, reason, stored, concerned, actor)
            return stored

        return await self._done(await self._state.transaction(work))

    def _tell(
        self, connection: Connection, reason: str, made: StoredOverride, people: Iterable[str], actor: Actor
    ) -> None:
        now = self._clock.now()
        messages = schedule_notices(self._policy(), reason, made, people, actor.name, now)
        self._queue.enqueue_messages(connection, messages, now)

    async def _done(self, changed: StoredOverride) -> StoredOverride:
        self._queue.wake_channels()
        await self._service.load()
        await self._changed()
        return changed

    def _audit(self, connection: Connection, actor: Actor, action: str, **facts: Any) -> None:
        audit_log.record(connection, AuditEntry(self._clock.now(), actor, action, facts))

    def _period(self, starts: datetime, ends: datetime) -> tuple[datetime, datetime]:
        if not self._service.settings.layers:
            raise InvalidCommandError("there is no schedule: everybody is always on call; write `on_call.layers`")
        try:
            begin, end = wall_period(starts, ends, self._service.zone)
            begin, end = input_limits.checked_time(begin), input_limits.checked_time(end)
        except (ValueError, OverflowError) as error:
            raise InvalidCommandError(str(error), "starts") from error
        if end <= begin or end <= self._clock.now():
            raise InvalidCommandError("must be later than its start, and than now", "ends")
        if end - begin > LONGEST:
            raise InvalidCommandError(f"must be at most {LONGEST.days} days after its start", "ends")
        return begin, end

    def _known(self, person: str, field: str) -> Person:
        people = self._service.settings.people
        if person not in people:
            known = ", ".join(people) or "nobody"
            raise InvalidCommandError(f"unknown person {person[:100]!r}: `on_call.people` has {known}", field)
        return people[person]

    def _check_on_call(self, person: str, begin: datetime, end: datetime) -> None:
        self._known(person, "person")
        if not any(person in it.people for it in self._service.schedule.shifts(begin, end)):
            raise InvalidCommandError(f"{person} is not on call in this time: nothing would change", "person")


def _found(connection: Connection, number: int) -> StoredOverride:
    found = repository.override(connection, number) if abs(number) < 2**62 else None
    if found is None:
        raise NotFoundError(f"override {number} not found")
    return found


def _digest(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "replace")).hexdigest()
