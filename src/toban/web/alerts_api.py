"""toban's own API of alerts: what stands, silences, acknowledgements, and why somebody was or wasn't told."""

import difflib
import uuid
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from sqlalchemy import Connection
from starlette.requests import Request
from starlette.responses import Response

from toban.alerting.rule_lint import metrics_read
from toban.alerting.rule_state import RuleHealth
from toban.alerting.service import EvaluationService
from toban.core import input_limits
from toban.core.alerts import Alert, AlertStatus, priority
from toban.core.config_types import parse_duration
from toban.core.errors import StateError
from toban.core.matchers import Matcher
from toban.core.ports import Clock
from toban.notify import repository
from toban.notify.drill import DrillService
from toban.notify.matcher_syntax import parse_matchers
from toban.notify.service import NotificationService
from toban.notify.silences import Silence
from toban.notify.system_notices import channel_test_notification
from toban.state import audit_log
from toban.state.database import State
from toban.web.endpoint import JSON, Endpoint, Permission
from toban.web.json_response import JsonResponse

Answering = Callable[[Request], Coroutine[Any, Any, Response]]


class AlertsApi:
    """Tells what stands, and takes what people say to it."""

    def __init__(
        self,
        evaluating: EvaluationService,
        dispatching: NotificationService,
        drilling: DrillService,
        state: State,
        clock: Clock,
    ) -> None:
        self._evaluating = evaluating
        self._dispatching = dispatching
        self._drilling = drilling
        self._state = state
        self._clock = clock

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        read, act = Permission.READ, Permission.ACT
        return [
            Endpoint("/api/alerts", with_error_status(self.alerts), read),
            Endpoint("/api/alerts/acknowledge", with_error_status(self.acknowledge), act, methods=["POST"], takes=JSON),
            Endpoint("/api/alerts/why", with_error_status(self.why), read),
            Endpoint("/api/alerts/test", with_error_status(self.test), act, methods=["POST"], takes=JSON),
            Endpoint("/api/alerts/drill", with_error_status(self.drill), act, methods=["POST"], takes=JSON),
            Endpoint("/api/silences", with_error_status(self.silences), read),
            Endpoint("/api/silences", with_error_status(self.silence), act, methods=["POST"], takes=JSON),
            Endpoint("/api/silences/end", with_error_status(self.end), act, methods=["POST"], takes=JSON),
        ]

    async def alerts(self, request: Request) -> Response:
        """Answer every alert that stands, every rule that can't be judged or sleeps, and how channels are."""
        now = self._clock.now()
        seats = [seat for bench in self._evaluating.groups for seat in bench.rules]
        suppressed = self._dispatching.suppressed()
        return JsonResponse(
            {
                "at": now.isoformat(),
                "alerts": [
                    alert_json(alert, suppressed.get(alert.fingerprint, ()))
                    for alert in self._evaluating.store.alerts()
                ],
                "asleep": [
                    {"rule": seat.rule.name, "reads": metrics_read(seat.rule.query.root)}
                    for seat in sorted(seats, key=lambda seat: seat.rule.name)
                    if seat.last.health is RuleHealth.ASLEEP
                ],
                "unjudged": [
                    {"rule": seat.rule.name, "health": seat.last.health.value, "error": seat.last.error}
                    for seat in seats
                    if not seat.last.health.is_ok
                ],
                "channels": [
                    {
                        "name": lane.name,
                        "kind": lane.channel.kind,
                        "waiting": lane.waiting.size,
                        "trouble": lane.problem,
                        "recipients": [
                            {
                                "name": it.name,
                                "trouble": it.message,
                                "since": it.since.isoformat(),
                                "permanent": it.permanent,
                            }
                            for it in lane.refused.values()
                        ],
                    }
                    for lane in self._dispatching.workers.values()
                ],
            }
        )

    async def acknowledge(self, request: Request) -> Response:
        """Take somebody's word that they look after alerts: `alert` (name or fingerprint), `by`, `comment`."""
        said = await read_fields(
            request,
            alert=input_limits.LABEL_VALUE_LENGTH,
            by=input_limits.PERSON_LENGTH,
            comment=-input_limits.COMMENT_LENGTH,
        )
        named = [
            it.alert.fingerprint
            for _, it in self._evaluating.store.all()
            if it.alert.status is AlertStatus.FIRING and said["alert"] in (it.alert.name, it.alert.fingerprint)
        ]
        if not named:
            raise NotFoundError(f"no alert {said['alert']!r} fires")
        for fingerprint in named:
            if said.get("back"):
                await self._evaluating.unacknowledge(fingerprint)
            else:
                await self._evaluating.acknowledge(fingerprint, said["by"], said.get("comment", ""))
        await self._note(said["by"], "acknowledged", alert=said["alert"])
        return JsonResponse({"acknowledged": len(named)})

    async def why(self, request: Request) -> Response:
        """
        Answer why an alert was or wasn't sent, stage by stage, and how its rule stands: `alert`.

        That is a name or a fingerprint, also the name of a rule that is quiet.
        """
        wanted = request.query_params.get("alert", "")
        known = {it.alert.fingerprint: it.alert for _, it in self._evaluating.store.all()}
        known |= {name: heard.alert for name, heard in self._dispatching.state.alerts.items()}
        found = [it for it in known.values() if wanted in (it.name, it.fingerprint)]
        rules = await self._evaluating.explain(wanted)
        if not found and not rules:
            names = {seat.rule.name for bench in self._evaluating.groups for seat in bench.rules}
            near = difflib.get_close_matches(wanted, sorted(names), 1)
            remedy = f"did you mean {near[0]!r}?" if near else "`toban rules list` shows the rules"
            raise NotFoundError(f"there is no alert and no rule {wanted!r}: {remedy}")
        suppressed = self._dispatching.suppressed()
        told = []
        for alert in found:
            notes = await self._state.transaction(partial(repository.notes, fingerprint=alert.fingerprint))
            story = [{"at": at.isoformat(), "stage": note.stage, "says": note.reason} for at, note in notes]
            told.append({**alert_json(alert, suppressed.get(alert.fingerprint, ())), "notes": story})
        return JsonResponse({"alerts": told, "rules": rules})

    async def test(self, request: Request) -> Response:
        """Send a word through a `channel`, on its usual way."""
        name = (await read_fields(request, channel=input_limits.PERSON_LENGTH))["channel"]
        if name not in self._dispatching.workers:
            there = ", ".join(self._dispatching.workers) or "none is configured"
            raise NotFoundError(f"unknown channel {name!r}: configured are {there}")
        now = self._clock.now()
        key = await self._dispatching.send_notice(
            channel_test_notification(self._dispatching.policy, name, f"test-{uuid.uuid4().hex[:12]}", now)
        )
        return JsonResponse({"key": key, "channel": name})

    async def drill(self, request: Request) -> Response:
        """Let the drill's rule fire now, and answer which channels must hear of it."""
        if not self._drilling.channels:
            raise NotFoundError("no channel is to hear of a drill: see channels, and notify.drill.channels")
        self._drilling.start()
        return JsonResponse({"channels": list(self._drilling.channels)})

    async def silences(self, request: Request) -> Response:
        """Answer all silences."""
        now = self._clock.now()
        found = await self._state.transaction(repository.silences)
        return JsonResponse({"silences": [_silence(it, now) for it in found]})

    async def silence(self, request: Request) -> Response:
        """Make a silence: `matchers`, `for` (a length) or `ends`, `by`, `comment`."""
        said = await read_fields(request, by=input_limits.PERSON_LENGTH, comment=input_limits.COMMENT_LENGTH)
        now = self._clock.now()
        conditions = _matchers_in(said.get("matchers"))
        ends = _end_in(said, now)
        silence = Silence(str(uuid.uuid4()), conditions, now, ends, said["by"], said["comment"], now)
        await self.keep(silence)
        return JsonResponse(_silence(silence, now))

    async def keep(self, silence: Silence, *, instead_of: str = "") -> str | None:
        """
        Keep a silence, and note who made it; return its id, nothing when there is none of the id that it changes.

        What Alertmanager changes in place keeps its id: the end and the comment of one that has the same matchers and
        start. Of another one that still holds or will, the old one ends, and the new one has a new id. Raises
        ``InvalidRequestError`` where there are too many.
        """
        now = self._clock.now()

        def work(connection: Connection) -> str | None:
            made = replace(silence, starts=max(silence.starts, now))
            if instead_of:
                old = next((it for it in repository.silences(connection) if it.id == instead_of), None)
                if old is None:
                    return None
                if old.may_become(silence, now):
                    made = replace(silence, id=old.id, starts=old.starts if old.active(now) else silence.starts)
                elif old.ends > now:
                    self._end(connection, old, silence.by, now)
            if made.id == silence.id and repository.many_silences(connection, now) >= input_limits.SILENCES:
                raise InvalidRequestError(
                    f"there are {input_limits.SILENCES} silences that have not ended: end some of them first"
                )
            repository.save_silence(connection, made)
            facts = {"matchers": made.matchers_text(), "ends": made.ends.isoformat(), "comment": made.comment}
            audit_log.record(connection, made.by or "somebody", "silenced", now, silence=made.id, **facts)
            return made.id

        kept = await self._state.transaction(work)
        await self._dispatching.decided()
        return kept

    @staticmethod
    def _end(connection: Connection, silence: Silence, by: str, now: datetime) -> None:
        repository.save_silence(connection, replace(silence, starts=min(silence.starts, now), ends=now, updated=now))
        audit_log.record(connection, by or "somebody", "ended a silence", now, silence=silence.id)

    async def end(self, request: Request) -> Response:
        """End a silence now: `id`."""
        said = await read_fields(request, id=input_limits.PERSON_LENGTH, by=-input_limits.PERSON_LENGTH)
        if not await self.expire(said["id"], said.get("by") or "somebody"):
            raise NotFoundError(f"there is no silence {said['id']!r} that still holds")
        return JsonResponse({"ended": said["id"]})

    async def expire(self, name: str, by: str) -> bool:
        """End a silence now; return whether there was one."""
        now = self._clock.now()

        def work(connection: Connection) -> bool:
            for silence in repository.silences(connection, now):
                if silence.id == name:
                    self._end(connection, silence, by, now)
                    return True
            return False

        found = await self._state.transaction(work)
        await self._dispatching.decided()
        return found

    async def _note(self, who: str, what: str, **facts: str) -> None:
        now = self._clock.now()
        await self._state.transaction(lambda connection: audit_log.record(connection, who, what, now, **facts))


class InvalidRequestError(ValueError):
    """What was asked can't be done."""


class NotFoundError(LookupError):
    """There is nothing of that name."""


def with_error_status(answer: Answering) -> Answering:
    """Return what answers with the status that each error stands for."""

    async def guarded(request: Request) -> Response:
        try:
            return await answer(request)
        except InvalidRequestError as error:
            return JsonResponse({"error": str(error)}, 400)
        except NotFoundError as error:
            return JsonResponse({"error": error.args[0]}, 404)
        except StateError as error:
            return JsonResponse({"error": str(error)}, 503)

    return guarded


async def read_fields(request: Request, **longest: int) -> dict[str, Any]:
    """
    Return a body that is an object, with the texts that it must have, each no longer than it may be.

    A text whose length is given as negative may be absent. Raises ``InvalidRequestError``.
    """
    try:
        body = await request.json()
    except (ValueError, RecursionError) as error:
        raise InvalidRequestError(f"the body is no JSON: {error}") from error
    if not isinstance(body, dict):
        raise InvalidRequestError("the body must be an object")
    for name, most in longest.items():
        if not body.get(name):
            if most > 0:
                raise InvalidRequestError(f"{name}: is missing")
            continue
        try:
            input_limits.checked_text(body[name], abs(most))
        except ValueError as error:
            raise InvalidRequestError(f"{name}: {error}") from error
    return body


def _matchers_in(match: object) -> tuple[Matcher, ...]:
    """Read the matchers of a silence."""
    texts = [match] if isinstance(match, str) else match
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise InvalidRequestError('match: is missing: write it like severity="critical"')
    try:
        conditions = tuple(parse_matchers(texts))
    except ValueError as error:
        raise InvalidRequestError(input_limits.repair_surrogates(str(error))) from error
    if len(conditions) > input_limits.MATCHERS:
        raise InvalidRequestError(f"match: {len(conditions)} conditions: at most {input_limits.MATCHERS} are accepted")
    if all(condition.accepts("") for condition in conditions):
        raise InvalidRequestError("match: at least one condition must not be met by a label that is not there")
    return conditions


def _end_in(said: Mapping[str, Any], now: datetime) -> datetime:
    """Read when a silence ends: at a time, or after a length."""
    try:
        if not said.get("ends"):
            return input_limits.checked_time(now + parse_duration(said.get("for", "1h")))
        ends = datetime.fromisoformat(said["ends"])
        if ends.tzinfo is None:
            raise ValueError("it must have its time zone")
        ends = input_limits.checked_time(ends)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidRequestError(f"{'ends' if said.get('ends') else 'for'}: {error}") from error
    if ends <= now:
        raise InvalidRequestError("ends: it must be in the future, with its time zone")
    return ends


def alert_json(alert: Alert, suppressed: Sequence[str] = ()) -> dict[str, Any]:
    """Return an alert as plain data; ``suppressed`` says why nobody is notified of it."""
    return {
        **alert.as_dict(),
        "suppressed": list(suppressed),
        "name": alert.name,
        "severity": alert.severity,
        "priority": priority(alert.labels),
        "fingerprint": alert.fingerprint,
    }


def _silence(silence: Silence, now: datetime) -> dict[str, Any]:
    state = "active" if silence.active(now) else "pending" if now < silence.starts else "expired"
    return {
        "id": silence.id,
        "matchers": [str(condition) for condition in silence.matchers],
        "starts": silence.starts.isoformat(),
        "ends": silence.ends.isoformat(),
        "by": silence.by,
        "comment": silence.comment,
        "state": state,
    }
