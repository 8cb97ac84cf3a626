"""Commands on silences: create, replace, expire. The API, Alertmanager's API and the CLI execute the same ones."""

import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final, TypeVar

from sqlalchemy import Connection

from toban.core import input_limits
from toban.core.actor import TOBAN, Actor
from toban.core.acts import TOPIC as ACT_TOPIC
from toban.core.acts import Act
from toban.core.errors import InvalidCommandError, NotFoundError
from toban.core.matchers import Matcher
from toban.core.ports import Clock
from toban.notify import repository
from toban.notify.silences import Silence
from toban.state import audit_log, event_log
from toban.state.audit_log import AuditEntry
from toban.state.database import State

T = TypeVar("T")

LIMITED_TO: Final = timedelta(days=1)
"""How long silences of those last who may only change what ends by itself."""


@dataclass(frozen=True, slots=True)
class SilenceSpec:
    """
    A silence as somebody asks for it.

    Without ``starts`` it begins now; without ``created_by`` it shows the name of the actor.
    """

    matchers: Sequence[Matcher]
    ends: datetime
    comment: str
    created_by: str = ""
    starts: datetime | None = None


class SilenceCommands:
    """Changes silences; each change and its row of the audit log are one transaction."""

    def __init__(self, state: State, clock: Clock, decided: Callable[[], Awaitable[None]]) -> None:
        """``decided`` returns once the notification service has decided with what was committed before."""
        self._state = state
        self._clock = clock
        self._decided = decided

    async def all(self) -> list[Silence]:
        """Return all silences, those that have expired lately included. Raises ``StateError``."""
        return await self._state.transaction(repository.silences)

    async def get(self, silence_id: str) -> Silence:
        """Return one silence. Raises ``NotFoundError``, ``StateError``."""
        return _found(await self.all(), silence_id)

    async def create(self, spec: SilenceSpec, actor: Actor) -> Silence:
        """Create a silence. Raises ``InvalidCommandError``, ``StateError``."""
        silence = self._silence(spec, actor)

        def work(connection: Connection) -> Silence:
            return self._create(connection, silence, actor)

        return await self._transact(work)

    async def replace(self, silence_id: str, spec: SilenceSpec, actor: Actor) -> Silence:
        """
        Change a silence as Alertmanager does; return what it became.

        Where the matchers and the start stay, its end and comment change in place. Otherwise it expires, and a silence
        with a new id takes its place. Raises ``NotFoundError``, ``InvalidCommandError``, ``StateError``.
        """
        silence = self._silence(spec, actor)
        now = silence.updated

        def work(connection: Connection) -> Silence:
            before = _found(repository.silences(connection), silence_id)
            if before.may_become(silence, now):
                starts = before.starts if before.active(now) else silence.starts
                return self._save(connection, replace(silence, id=before.id, starts=starts), actor, "updated a silence")
            if before.ends > now:
                self._expire(connection, before, actor, now)
            return self._create(connection, silence, actor)

        return await self._transact(work)

    async def expire(self, silence_id: str, actor: Actor) -> None:
        """Expire a silence now. Raises ``NotFoundError`` where none is active or pending, ``StateError``."""
        now = self._clock.now()

        def work(connection: Connection) -> None:
            self._expire(connection, _found(repository.silences(connection, now), silence_id), actor, now)

        await self._transact(work)

    async def _transact(self, work: Callable[[Connection], T]) -> T:
        result = await self._state.transaction(work)
        await self._decided()
        return result

    def _silence(self, spec: SilenceSpec, actor: Actor) -> Silence:
        """Return the silence of a spec. Raises ``InvalidCommandError``, in Alertmanager's words where it has some."""
        now = self._clock.now()
        if spec.starts is not None and spec.ends <= spec.starts:
            raise InvalidCommandError("start time must be before end time", "starts")
        if spec.ends <= now:
            raise InvalidCommandError("end time can't be in the past", "ends")
        if actor.is_limited and spec.ends - max(now, spec.starts or now) > LIMITED_TO:
            raise InvalidCommandError("more than 24 hours takes the permission to configure: ask an admin", "duration")
        if len(spec.matchers) > input_limits.MATCHERS:
            raise InvalidCommandError(
                f"{len(spec.matchers)} matchers: at most {input_limits.MATCHERS} are accepted", "matchers"
            )
        if all(matcher.accepts("") for matcher in spec.matchers):
            raise InvalidCommandError("at least one matcher must not match the empty string", "matchers")
        created_by = _checked("created_by", spec.created_by or actor.name, input_limits.PERSON_LENGTH)
        comment = _checked("comment", spec.comment, input_limits.COMMENT_LENGTH)
        starts = spec.starts or now
        return Silence(str(uuid.uuid4()), tuple(spec.matchers), starts, spec.ends, created_by, comment, now)

    def _create(self, connection: Connection, silence: Silence, actor: Actor) -> Silence:
        now = silence.updated
        if repository.many_silences(connection, now) >= input_limits.SILENCES:
            raise InvalidCommandError(f"there are {input_limits.SILENCES} silences already: expire some of them first")
        begun = replace(silence, starts=max(silence.starts, now))
        saved = self._save(connection, begun, actor, "created a silence")
        if saved.comment and actor.via != TOBAN.via:
            act = Act("silence", now, actor.name, matchers=(saved.matchers_text(),))
            event_log.append(connection, ACT_TOPIC, act.as_dict(), now)
        return saved

    @staticmethod
    def _save(connection: Connection, silence: Silence, actor: Actor, action: str) -> Silence:
        repository.save_silence(connection, silence)
        facts = {
            "silence": silence.id,
            "matchers": silence.matchers_text(),
            "ends": silence.ends.isoformat(),
            "created_by": silence.by,
            "comment": silence.comment,
        }
        audit_log.record(connection, AuditEntry(silence.updated, actor, action, facts))
        return silence

    @staticmethod
    def _expire(connection: Connection, silence: Silence, actor: Actor, now: datetime) -> None:
        repository.save_silence(connection, replace(silence, starts=min(silence.starts, now), ends=now, updated=now))
        audit_log.record(connection, AuditEntry(now, actor, "expired a silence", {"silence": silence.id}))


def _checked(field: str, text: str, longest: int) -> str:
    try:
        return input_limits.checked_text(text, longest)
    except ValueError as error:
        raise InvalidCommandError(str(error), field) from error


def _found(silences: Sequence[Silence], silence_id: str) -> Silence:
    for silence in silences:
        if silence.id == silence_id:
            return silence
    raise NotFoundError(f"silence {input_limits.repair_surrogates(silence_id)[:100]!r} not found")
