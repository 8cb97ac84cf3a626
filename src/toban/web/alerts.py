"""toban's own API of alerts: what stands, silences, acknowledgements, and why somebody was or wasn't told."""

import uuid
from collections.abc import Callable, Coroutine
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from toban.alerting.benches import Health
from toban.alerting.evaluating import Evaluating
from toban.alerting.linting import reads
from toban.core.alerts import Alert, Status, priority
from toban.core.errors import StateError
from toban.core.ports import Clock
from toban.core.section import duration
from toban.notify import book
from toban.notify.dispatching import Dispatching
from toban.notify.drilling import Drilling
from toban.notify.matching import matchers
from toban.notify.muting import Silence
from toban.notify.notices import drill
from toban.state import journal
from toban.state.door import State
from toban.web.json import Json

Answering = Callable[[Request], Coroutine[Any, Any, Response]]


class Alerts:
    """Tells what stands, and takes what people say to it."""

    def __init__(
        self, evaluating: Evaluating, dispatching: Dispatching, drilling: Drilling, state: State, clock: Clock
    ) -> None:
        self._evaluating = evaluating
        self._dispatching = dispatching
        self._drilling = drilling
        self._state = state
        self._clock = clock

    def routes(self) -> list[Route]:
        """Return the routes."""
        post = ["POST"]
        return [
            Route("/api/alerts", _guarded(self.alerts)),
            Route("/api/alerts/acknowledge", _guarded(self.acknowledge), methods=post),
            Route("/api/alerts/why", _guarded(self.why)),
            Route("/api/alerts/test", _guarded(self.test), methods=post),
            Route("/api/alerts/drill", _guarded(self.drill), methods=post),
            Route("/api/silences", _guarded(self.silences)),
            Route("/api/silences", _guarded(self.silence), methods=post),
            Route("/api/silences/end", _guarded(self.end), methods=post),
        ]

    async def alerts(self, request: Request) -> Response:
        """Answer every alert that stands, every rule that can't be judged or sleeps, and how channels are."""
        now = self._clock.now()
        seats = [seat for bench in self._evaluating.benches for seat in bench.seats]
        return Json(
            {
                "at": now.isoformat(),
                "alerts": [as_json(alert) for alert in self._evaluating.ledger.alerts()],
                "asleep": [
                    {"rule": seat.rule.name, "reads": reads(seat.rule.query.root)}
                    for seat in sorted(seats, key=lambda seat: seat.rule.name)
                    if seat.seen.health is Health.ASLEEP
                ],
                "unjudged": [
                    {"rule": seat.rule.name, "health": seat.seen.health.value, "error": seat.seen.error}
                    for seat in seats
                    if not seat.seen.health.well
                ],
                "channels": [
                    {
                        "name": lane.name,
                        "kind": lane.channel.kind,
                        "waiting": lane.waiting.many,
                        "trouble": lane.trouble.says if lane.trouble else "",
                    }
                    for lane in self._dispatching.lanes.values()
                ],
            }
        )

    async def acknowledge(self, request: Request) -> Response:
        """Take somebody's word that they look after alerts: `alert` (name or fingerprint), `by`, `comment`."""
        said = await _said(request, "alert", "by")
        named = [
            it.alert.fingerprint
            for _, it in self._evaluating.ledger.all()
            if it.alert.status is Status.FIRING and said["alert"] in (it.alert.name, it.alert.fingerprint)
        ]
        if not named:
            raise _NoSuchError(f"no alert {said['alert']!r} fires")
        for fingerprint in named:
            if said.get("back"):
                await self._evaluating.take_back(fingerprint)
            else:
                await self._evaluating.acknowledge(fingerprint, said["by"], said.get("comment", ""))
        await self._note(said["by"], "acknowledged", alert=said["alert"])
        return Json({"acknowledged": len(named)})

    async def why(self, request: Request) -> Response:
        """Answer, stage by stage, why an alert was or wasn't told: `alert`, a name or a fingerprint."""
        wanted = request.query_params.get("alert", "")
        known = {it.alert.fingerprint: it.alert for _, it in self._evaluating.ledger.all()}
        known |= {name: heard.alert for name, heard in self._dispatching.picture.heard.items()}
        found = [it for it in known.values() if wanted in (it.name, it.fingerprint)]
        if not found:
            raise _NoSuchError(f"no alert {wanted!r} stands: `toban alerts` shows those that do")
        told = []
        for alert in found:
            notes = await self._state.transaction(partial(book.notes, fingerprint=alert.fingerprint))
            story = [{"at": at.isoformat(), "stage": note.stage, "says": note.says} for at, note in notes]
            told.append({**as_json(alert), "notes": story})
        return Json({"alerts": told})

    async def test(self, request: Request) -> Response:
        """Send a word through a `channel`, on its usual way."""
        name = (await _said(request, "channel"))["channel"]
        if name not in self._dispatching.lanes:
            there = ", ".join(self._dispatching.lanes) or "none is configured"
            raise _NoSuchError(f"{name!r} is no channel: there are {there}")
        now = self._clock.now()
        key = await self._dispatching.say(drill(self._dispatching.house, name, f"test-{uuid.uuid4().hex[:12]}", now))
        return Json({"key": key, "channel": name})

    async def drill(self, request: Request) -> Response:
        """Let the drill's rule fire now, and answer which channels must hear of it."""
        if not self._drilling.channels:
            raise _NoSuchError("no channel is to hear of a drill: see channels, and notify.drill.channels")
        self._drilling.start()
        return Json({"channels": list(self._drilling.channels)})

    async def silences(self, request: Request) -> Response:
        """Answer all silences."""
        now = self._clock.now()
        found = await self._state.transaction(book.silences)
        return Json({"silences": [_silence(it, now) for it in found]})

    async def silence(self, request: Request) -> Response:
        """Make a silence: `match` (conditions), `for` (a length) or `ends`, `by`, `comment`."""
        said = await _said(request, "match", "by", "comment")
        now = self._clock.now()
        try:
            conditions = tuple(matchers([said["match"]] if isinstance(said["match"], str) else said["match"]))
            ends = datetime.fromisoformat(said["ends"]) if said.get("ends") else now + duration(said.get("for", "1h"))
        except (ValueError, TypeError) as error:
            raise _WrongError(str(error)) from error
        if ends.tzinfo is None or ends <= now:
            raise _WrongError("ends: it must be in the future, with its time zone")
        if all(condition.accepts("") for condition in conditions):
            raise _WrongError("match: at least one condition must not be met by a label that is not there")
        silence = Silence(str(uuid.uuid4()), conditions, now, ends, said["by"], said["comment"], now)
        await self.keep(silence)
        return Json(_silence(silence, now))

    async def keep(self, silence: Silence) -> None:
        """Keep a silence, and note who made it."""
        now = self._clock.now()

        def work(connection: Connection) -> None:
            book.keep_silence(connection, silence)
            facts = {"match": silence.says(), "ends": silence.ends.isoformat(), "comment": silence.comment}
            journal.note(connection, silence.by or "somebody", "silenced", now, silence=silence.id, **facts)

        await self._state.transaction(work)
        self._dispatching.ring()

    async def end(self, request: Request) -> Response:
        """End a silence now: `id`."""
        said = await _said(request, "id")
        if not await self.expire(said["id"], said.get("by", "somebody")):
            raise _NoSuchError(f"there is no silence {said['id']!r} that still holds")
        return Json({"ended": said["id"]})

    async def expire(self, name: str, by: str) -> bool:
        """End a silence now; return whether there was one."""
        now = self._clock.now()

        def work(connection: Connection) -> bool:
            for silence in book.silences(connection, now):
                if silence.id == name:
                    ended = replace(silence, starts=min(silence.starts, now), ends=now, updated=now)
                    book.keep_silence(connection, ended)
                    journal.note(connection, by, "ended a silence", now, silence=name)
                    return True
            return False

        found = await self._state.transaction(work)
        self._dispatching.ring()
        return found

    async def _note(self, who: str, what: str, **facts: str) -> None:
        now = self._clock.now()
        await self._state.transaction(lambda connection: journal.note(connection, who, what, now, **facts))


class _WrongError(ValueError):
    """What was asked can't be done."""


class _NoSuchError(LookupError):
    """There is nothing of that name."""


def _guarded(answer: Answering) -> Answering:
    async def guarded(request: Request) -> Response:
        try:
            return await answer(request)
        except _WrongError as error:
            return Json({"error": str(error)}, 400)
        except _NoSuchError as error:
            return Json({"error": error.args[0]}, 404)
        except StateError as error:
            return Json({"error": str(error)}, 503)

    return guarded


async def _said(request: Request, *needed: str) -> dict[str, Any]:
    """Return a body that is an object and says what is needed."""
    try:
        body = await request.json()
    except ValueError as error:
        raise _WrongError(f"the body is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise _WrongError("the body must be an object")
    for name in needed:
        if not body.get(name) or not isinstance(body[name], str | list):
            raise _WrongError(f"{name}: is missing")
    return body


def as_json(alert: Alert) -> dict[str, Any]:
    """Return an alert as plain data."""
    return {
        **alert.body(),
        "name": alert.name,
        "severity": alert.severity,
        "priority": priority(alert.labels),
        "fingerprint": alert.fingerprint,
    }


def _silence(silence: Silence, now: datetime) -> dict[str, Any]:
    state = "active" if silence.active(now) else "pending" if now < silence.starts else "expired"
    return {
        "id": silence.id,
        "match": [str(condition) for condition in silence.matchers],
        "starts": silence.starts.isoformat(),
        "ends": silence.ends.isoformat(),
        "by": silence.by,
        "comment": silence.comment,
        "state": state,
    }
