"""
The HTTP API of Alertmanager (version 2), so that `amtool` works and a Prometheus can send its alerts here.

https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml
"""

import uuid
from collections.abc import Callable, Coroutine, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import toban
from toban.alerting.evaluating import Evaluating
from toban.alerting.outside import Outside, Posted
from toban.core.alerts import Alert, Status
from toban.core.errors import BadQueryError, StateError
from toban.core.labels import LABEL_NAME, Labels
from toban.core.matching import Match, Matcher, expression, matches
from toban.core.ports import Clock
from toban.notify import book
from toban.notify.dispatching import Dispatching
from toban.notify.matching import matcher
from toban.notify.muting import Silence
from toban.state.door import State
from toban.web.alerts import Alerts
from toban.web.json import Json

LARGEST: Final = 8_000_000
"""Bytes that a body may have."""

Answering = Callable[[Request], Coroutine[Any, Any, Response]]


class Alertmanager:
    """Answers as Alertmanager does."""

    def __init__(
        self,
        evaluating: Evaluating,
        outside: Outside,
        dispatching: Dispatching,
        alerts: Alerts,
        state: State,
        clock: Clock,
    ) -> None:
        self._evaluating = evaluating
        self._outside = outside
        self._dispatching = dispatching
        self._alerts = alerts
        self._state = state
        self._clock = clock
        self._started = clock.now()

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route("/api/v2/alerts", _answered(self.post), methods=["POST"]),
            Route("/api/v2/alerts", _answered(self.alerts)),
            Route("/api/v2/alerts/groups", _answered(self.groups)),
            Route("/api/v2/silences", _answered(self.silence), methods=["POST"]),
            Route("/api/v2/silences", _answered(self.silences)),
            Route("/api/v2/silence/{id}", _answered(self.one_silence)),
            Route("/api/v2/silence/{id}", _answered(self.expire), methods=["DELETE"]),
            Route("/api/v2/receivers", _answered(self.receivers)),
            Route("/api/v2/status", _answered(self.status)),
            Route("/hooks/alertmanager", _answered(self.hook), methods=["POST"]),
        ]

    async def post(self, request: Request) -> Response:
        """Take alerts, as a Prometheus sends them: again and again while they fire."""
        body = await _json(request)
        if not isinstance(body, list):
            raise _RefusedError("parsing alerts body failed: it must be an array", structured=True)
        posted = [_posted(one) for one in body]
        await self._outside.take(_source(request), posted)
        return Response(status_code=200)

    async def hook(self, request: Request) -> Response:
        """Take a notification of a real Alertmanager's webhook (version 4)."""
        body = await _json(request)
        if not isinstance(body, dict) or not isinstance(body.get("alerts"), list):
            raise _RefusedError("the body must be a webhook notification, with `alerts`")
        posted = []
        for one in body["alerts"]:
            if not isinstance(one, dict):
                raise _RefusedError("an alert must be an object")
            # One that fires names the zero time as its end; Alertmanager says itself when it is over.
            over = one.get("status") == "resolved"
            ends = (one.get("endsAt") or self._clock.now().isoformat()) if over else HOOKED
            posted.append(_posted({**one, "endsAt": ends}))
        await self._outside.take(f"alertmanager {str(body.get('receiver', ''))[:50]}".strip(), posted)
        return Response(status_code=200)

    async def alerts(self, request: Request) -> Response:
        """Answer alerts, by `filter`, `receiver`, and whether they are `active`, `silenced`, `inhibited`."""
        return Json(await self._found(request))

    async def groups(self, request: Request) -> Response:
        """Answer alerts in the groups in which they are told."""
        groups: dict[tuple[str, str], dict[str, Any]] = {}
        for alert in await self._found(request):
            for taken in self._dispatching.house.routing.take(Labels(alert["labels"])):
                for channel in taken.channels:
                    labels = dict(taken.group)
                    group = {"labels": labels, "receiver": {"name": channel}, "alerts": []}
                    groups.setdefault((channel, str(taken.group)), group)["alerts"].append(alert)
        return Json(list(groups.values()))

    async def _found(self, request: Request) -> list[dict[str, Any]]:
        asked = request.query_params
        filters = [_filter(text) for text in asked.getlist("filter")]
        receiver = _pattern(asked.get("receiver", ""))
        now = self._clock.now()
        silences = await self._state.transaction(lambda connection: book.silences(connection, now))
        firing = [it.alert for _, it in self._evaluating.ledger.all() if it.alert.status is Status.FIRING]
        held = self._dispatching.house.inhibiting.held_back({it.fingerprint: it for it in firing})
        found = []
        for alert in firing:
            if not matches(filters, alert.labels):
                continue
            told = self._alert(alert, silences, held, now)
            if receiver and not any(receiver.fullmatch(it["name"]) for it in told["receivers"]):
                continue
            status = told["status"]
            wanted = (
                _asked(asked, "silenced") if status["silencedBy"] else True,
                _asked(asked, "inhibited") if status["inhibitedBy"] else True,
                _asked(asked, "active") if status["state"] == "active" else True,
            )
            if all(wanted):
                found.append(told)
        return sorted(found, key=lambda alert: alert["fingerprint"])

    def _alert(
        self, alert: Alert, silences: Iterable[Silence], held: Mapping[str, str], now: datetime
    ) -> dict[str, Any]:
        silenced = [it.id for it in silences if it.active(now) and matches(it.matchers, alert.labels)]
        inhibited = [held[alert.fingerprint]] if alert.fingerprint in held else []
        taken = self._dispatching.house.routing.take(alert.labels)
        channels = dict.fromkeys(channel for way in taken for channel in way.channels)
        return {
            "labels": dict(alert.labels),
            "annotations": dict(alert.annotations),
            "startsAt": _time(alert.fired or alert.starts),
            "endsAt": _time(alert.ends or now),
            "updatedAt": _time(now),
            "fingerprint": alert.fingerprint,
            "generatorURL": alert.link,
            "receivers": [{"name": name} for name in channels],
            "status": {
                "state": "suppressed" if silenced or inhibited else "active",
                "silencedBy": silenced,
                "inhibitedBy": inhibited,
                "mutedBy": [],
            },
        }

    async def silences(self, request: Request) -> Response:
        """Answer silences, by `filter`."""
        filters = [_filter(text) for text in request.query_params.getlist("filter")]
        now = self._clock.now()
        found = await self._state.transaction(book.silences)
        chosen = [it for it in found if all(_concerns(it, condition) for condition in filters)]
        return Json([_silence(it, now) for it in chosen])

    async def one_silence(self, request: Request) -> Response:
        """Answer one silence."""
        found = await self._state.transaction(book.silences)
        for silence in found:
            if silence.id == request.path_params["id"]:
                return Json(_silence(silence, self._clock.now()))
        return Response(status_code=404)

    async def expire(self, request: Request) -> Response:
        """End a silence now."""
        name = request.path_params["id"]
        return Response(status_code=200 if await self._alerts.expire(name, "the Alertmanager API") else 404)

    async def silence(self, request: Request) -> Response:
        """Make a silence, or change one: a changed one has a new id, as at Alertmanager."""
        body = await _json(request)
        if not isinstance(body, dict):
            raise _RefusedError("the body must be an object", structured=True)
        now = self._clock.now()
        starts = max(_moment(body.get("startsAt"), "startsAt") or now, now)
        ends = _moment(body.get("endsAt"), "endsAt")
        if ends is None or ends <= now:
            raise _RefusedError("Failed to create silence: end time can't be in the past")
        if ends <= starts:
            raise _RefusedError("Failed to create silence: start time must be before end time")
        conditions = tuple(_condition(it) for it in body.get("matchers") or [])
        if all(condition.accepts("") for condition in conditions):
            raise _RefusedError("silence invalid: at least one matcher must not match the empty string")
        by, comment = str(body.get("createdBy", ""))[:200], str(body.get("comment", ""))[:2000]
        if body.get("id") and not await self._alerts.expire(str(body["id"]), by):
            return Json(f"silence {body['id']} not found", 404)
        silence = Silence(str(uuid.uuid4()), conditions, starts, ends, by, comment, now)
        await self._alerts.keep(silence)
        return Json({"silenceID": silence.id})

    async def receivers(self, request: Request) -> Response:
        """Answer the channels."""
        return Json([{"name": name} for name in self._dispatching.lanes])

    async def status(self, request: Request) -> Response:
        """Answer who this is."""
        version = dict.fromkeys(("revision", "branch", "buildUser", "buildDate", "goVersion"), "")
        return Json(
            {
                "cluster": {"status": "disabled", "peers": [], "name": ""},
                "config": {"original": "# toban: `toban export alertmanager` writes its routes as Alertmanager's\n"},
                "uptime": _time(self._started),
                "versionInfo": {"version": toban.__version__, **version},
            }
        )


HOOKED: Final = "9999-01-01T00:00:00Z"
"""Until when an alert of a real Alertmanager is believed: it says itself when one is over."""


class _RefusedError(ValueError):
    """What was sent is wrong; Alertmanager says so as a text, or as an object."""

    def __init__(self, message: str, *, structured: bool = False, status: int = 400) -> None:
        super().__init__(message)
        self.body: object = {"code": status, "message": message} if structured else message
        self.status = status


def _answered(answer: Answering) -> Answering:
    async def answered(request: Request) -> Response:
        try:
            return await answer(request)
        except _RefusedError as error:
            return Json(error.body, error.status)
        except StateError as error:
            # Not 4xx: whoever sends alerts would give them up.
            return Json(str(error), 503)

    return answered


async def _json(request: Request) -> Any:
    kind = request.headers.get("content-type", "").partition(";")[0].strip()
    if kind != "application/json":
        said = f'unsupported media type "{kind[:100]}", only [application/json] are allowed'
        raise _RefusedError(said, structured=True, status=415)
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > LARGEST:
            raise _RefusedError(f"the body is larger than {LARGEST} bytes", structured=True, status=413)
    try:
        return orjson.loads(bytes(body))
    except ValueError as error:
        raise _RefusedError(f"parsing body failed, because json: {error}", structured=True) from error


def _posted(raw: Any) -> Posted:
    if not isinstance(raw, dict) or not isinstance(raw.get("labels"), dict):
        raise _RefusedError("parsing alerts body failed: each alert must be an object with labels", structured=True)
    labels = _texts(raw["labels"], "labels")
    if not labels:
        raise _RefusedError("at least one label pair required")
    for name in labels:
        if not LABEL_NAME.fullmatch(name):
            raise _RefusedError(f'invalid label set: invalid name "{name}"')
    annotations = _texts(raw.get("annotations") or {}, "annotations")
    starts, ends = _moment(raw.get("startsAt"), "startsAt"), _moment(raw.get("endsAt"), "endsAt")
    return Posted(Labels(labels), annotations, starts, ends, str(raw.get("generatorURL") or "")[:2000])


def _texts(raw: Any, where: str) -> dict[str, str]:
    if not isinstance(raw, dict) or not all(isinstance(value, str) for value in raw.values()):
        raise _RefusedError(f"{where}: all values must be text", structured=True)
    return dict(raw)


def _moment(text: Any, where: str) -> datetime | None:
    """Read a time; Go writes up to nine digits of a second, and the zero time for none."""
    if not text:
        return None
    try:
        at = datetime.fromisoformat(str(text))
    except ValueError as error:
        raise _RefusedError(f"{where}: {str(text)[:50]!r} is no time (RFC 3339)", structured=True) from error
    if at.year == 1:
        return None
    return at.astimezone(UTC) if at.tzinfo else at.replace(tzinfo=UTC)


def _condition(raw: Any) -> Matcher:
    if not isinstance(raw, dict) or not isinstance(raw.get("name"), str) or not isinstance(raw.get("value"), str):
        raise _RefusedError("silence invalid: a matcher needs name and value")
    regex, equal = bool(raw.get("isRegex")), raw.get("isEqual", True) is not False
    match = (Match.REGEX if equal else Match.NOT_REGEX) if regex else (Match.EQUAL if equal else Match.NOT_EQUAL)
    try:
        return Matcher(raw["name"], match, raw["value"])
    except BadQueryError as error:
        raise _RefusedError(f"silence invalid: {error}") from error


def _filter(text: str) -> Matcher:
    try:
        return matcher(text)
    except ValueError as error:
        raise _RefusedError(f"bad matcher format: {text}") from error


def _pattern(text: str) -> Any:
    try:
        return expression(text) if text else None
    except BadQueryError as error:
        raise _RefusedError(f"failed to parse receiver param: {error}") from error


def _asked(asked: Mapping[str, str], name: str) -> bool:
    return asked.get(name, "true") != "false"


def _concerns(silence: Silence, condition: Matcher) -> bool:
    """Tell whether a silence has a matcher of that name whose value meets the condition."""
    return any(it.name == condition.name and condition.accepts(it.value) for it in silence.matchers)


def _source(request: Request) -> str:
    """Return who sends alerts, by the name of its program: a Prometheus and a person with amtool are two."""
    agent = request.headers.get("user-agent", "").partition("/")[0].strip()
    return agent[:50] or "somebody"


def _silence(silence: Silence, now: datetime) -> dict[str, Any]:
    state = "active" if silence.active(now) else "pending" if now < silence.starts else "expired"
    return {
        "id": silence.id,
        "status": {"state": state},
        "updatedAt": _time(silence.updated),
        "startsAt": _time(silence.starts),
        "endsAt": _time(silence.ends),
        "createdBy": silence.by,
        "comment": silence.comment,
        "matchers": [_matcher(it) for it in silence.matchers],
    }


def _matcher(condition: Matcher) -> dict[str, Any]:
    return {
        "name": condition.name,
        "value": condition.value,
        "isRegex": condition.match in {Match.REGEX, Match.NOT_REGEX},
        "isEqual": condition.match in {Match.EQUAL, Match.REGEX},
    }


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
