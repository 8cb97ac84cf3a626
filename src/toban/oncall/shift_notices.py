"""Tells people that their shift starts, each once; at night after their quiet hours."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import Connection

from toban.core.errors import StateError
from toban.core.failure_log import FailureLog
from toban.core.metric_registry import MetricRegistry
from toban.core.notification import Notification
from toban.core.periodic import run_periodically
from toban.core.ports import Clock, HealthStatus
from toban.oncall import repository
from toban.oncall.policy import OnCallPolicy
from toban.oncall.rotation import Shift
from toban.oncall.schedule_messages import shift_notice
from toban.oncall.service import OnCallService
from toban.state.database import State
from toban.state.message_queue import MessageQueue

log = structlog.get_logger("toban.oncall")

INTERVAL: Final = timedelta(minutes=1)
BEFORE: Final = timedelta(days=4)
"""How long ago a shift may have started that quiet hours have held back: longer than a weekend."""
AHEAD: Final = timedelta(days=60)
"""How far ahead the end of a shift is looked for."""
LATE: Final = timedelta(hours=1)
"""How long after a shift starts its message still makes sense, where toban did not run meanwhile."""
AS_URGENT_AS: Final = "P2"
"""The priority whose quiet hours hold the message back."""


@dataclass(frozen=True, slots=True)
class StartedShift:
    """The shift of a person: since when, until when, after whom and before whom."""

    person: str
    start: datetime
    end: datetime
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()


def started_shifts(shifts: Sequence[Shift], now: datetime) -> Iterator[StartedShift]:
    """Yield the shifts of those who are on call now and started within `BEFORE`, by the shifts of the time around."""
    place = next((place for place, it in enumerate(shifts) if it.start <= now < it.end), None)
    for person in shifts[place].people if place is not None else ():
        first = last = place or 0
        while first > 0 and person in shifts[first - 1].people and shifts[first - 1].end >= shifts[first].start:
            first -= 1
        if shifts[first].start <= now - BEFORE:
            continue  # it started before what is known
        following = last + 1
        while following < len(shifts) and person in shifts[following].people:
            if shifts[following].start > shifts[last].end:
                break
            last, following = following, following + 1
        before = shifts[first - 1] if first and shifts[first - 1].end >= shifts[first].start else None
        after = shifts[following] if following < len(shifts) else None
        yield StartedShift(
            person,
            shifts[first].start,
            shifts[last].end,
            before.people if before else (),
            after.people if after else (),
        )


def due_shifts(
    policy: OnCallPolicy,
    shifts: Sequence[Shift],
    told: Mapping[str, datetime],
    now: datetime,
    *,
    is_urgent: bool,
) -> list[StartedShift]:
    """
    Return the shifts that people are told of now.

    ``told`` has the start of the last shift that each person was told of. What starts in quiet hours waits until they
    end, unless it ``is_urgent``: a P1 is open, and who is on call is called about it anyway.
    """
    found = []
    for shift in started_shifts(shifts, now):
        known = policy.on_call.people.get(shift.person)
        if known is None or not (known.shift_notice and known.channels):
            continue
        if shift.start <= told.get(shift.person, datetime.min.replace(tzinfo=now.tzinfo)):
            continue
        quiet = policy.quiet_until(shift.person, AS_URGENT_AS, shift.start)
        due = max(shift.start, quiet or shift.start)
        if due <= now < due + LATE or (is_urgent and shift.start <= now < due):
            found.append(shift)
    return found


class ShiftNotices:
    """
    Tells people that their shift starts, once, over restarts too.

    A message and the mark that it was sent are one transaction.
    """

    name = "shift notices"

    def __init__(
        self,
        service: OnCallService,
        policy: Callable[[], OnCallPolicy],
        is_urgent: Callable[[], bool],
        queue: MessageQueue,
        state: State,
        clock: Clock,
        meters: MetricRegistry,
    ) -> None:
        """``is_urgent`` tells whether a P1 is open."""
        self._service = service
        self._policy = policy
        self._is_urgent = is_urgent
        self._queue = queue
        self._state = state
        self._clock = clock
        self._meters = meters
        self._failure = FailureLog(
            log, "state unavailable, nobody is told that a shift starts", "state available again"
        )

    async def run(self) -> None:
        """Look for shifts that start until cancelled."""
        await run_periodically(self.name, INTERVAL, self.once, clock=self._clock, meters=self._meters)

    async def once(self) -> None:
        """Tell whoever's shift has started since the last time."""
        if not self._service.settings.layers:
            return
        now = self._clock.now()
        shifts = self._service.schedule.shifts(now - BEFORE, now + AHEAD)

        def work(connection: Connection) -> list[Notification]:
            policy, told = self._policy(), repository.told_shifts(connection)
            due = due_shifts(policy, shifts, told, now, is_urgent=self._is_urgent())
            messages = [
                it
                for shift in due
                for it in shift_notice(policy, shift.person, shift.start, shift.end, shift.before, shift.after, now)
            ]
            for shift in due:
                repository.note_told(connection, shift.person, shift.start)
            self._queue.enqueue_messages(connection, messages, now)
            return messages

        try:
            messages = await self._state.transaction(work)
        except StateError as error:
            self._failure.failed(str(error))
            return
        self._failure.succeeded()
        if messages:
            self._queue.wake_channels()

    def health(self) -> HealthStatus:
        """Return whether people are told."""
        if error := self._failure.error:
            return HealthStatus(False, f"state unavailable, nobody is told that a shift starts: {error}")
        is_needed = bool(self._service.settings.layers)
        return HealthStatus(True, "people are told when their shift starts" if is_needed else "no schedule", is_needed)
