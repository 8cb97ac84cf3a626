"""
The HTTP API of Alertmanager (version 2), so that `amtool` works and a Prometheus can send its alerts here.

https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

import toban
from toban.alerting.external_alerts import Outside, Posted
from toban.alerting.service import Evaluating
from toban.core.alerts import Alert, Status
from toban.core.errors import StateError
from toban.core.input_limits import repaired
from toban.core.item_isolation import Isolation
from toban.core.labels import Labels
from toban.core.matchers import matches
from toban.core.ports import Clock
from toban.notify import repository
from toban.notify.muting import Inhibited, Silence
from toban.notify.pipeline import inhibited
from toban.notify.service import Dispatching
from toban.state.database import State
from toban.web.alertmanager_schema import (
    LARGEST,
    RefusedError,
    body_of,
    concerns,
    filter_in,
    hooked,
    pattern_in,
    posted_in,
    refused,
    silence_in,
    silence_out,
    source_of,
    time_out,
)
from toban.web.alerts_api import Alerts, WrongError
from toban.web.endpoint import JSON, Endpoint, Permission
from toban.web.json_response import Json

MOST: Final = 10_000
"""Alerts in one request."""
TURN: Final = 250
"""How many are read before others have a turn."""
TOLD: Final = 20
"""Mistakes of one request that are told."""

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

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        read, push, act = Permission.READ, Permission.PUSH, Permission.ACT
        post = partial(Endpoint, methods=["POST"], takes=JSON, largest=LARGEST, refuse=refused)
        return [
            post("/api/v2/alerts", _answered(self.post), push),
            Endpoint("/api/v2/alerts", _answered(self.alerts), read),
            Endpoint("/api/v2/alerts/groups", _answered(self.groups), read),
            post("/api/v2/silences", _answered(self.silence), act),
            Endpoint("/api/v2/silences", _answered(self.silences), read),
            Endpoint("/api/v2/silence/{id}", _answered(self.one_silence), read),
            Endpoint("/api/v2/silence/{id}", _answered(self.expire), act, methods=["DELETE"]),
            Endpoint("/api/v2/receivers", _answered(self.receivers), read),
            Endpoint("/api/v2/status", _answered(self.status), read),
            post("/hooks/alertmanager", _answered(self.hook), push),
        ]

    async def post(self, request: Request) -> Response:
        """Take alerts, as a Prometheus sends them: again and again while they fire."""
        body = await body_of(request)
        if not isinstance(body, list):
            raise RefusedError("parsing alerts body failed: it must be an array", structured=True)
        return await self._take(source_of(request), body)

    async def _take(self, source: str, raw: Sequence[Any]) -> Response:
        """Take the alerts that are right, and say what is wrong with the others, as Alertmanager does."""
        if len(raw) > MOST:
            raise RefusedError(f"{len(raw)} alerts: at most {MOST} are accepted in one request", status=413)
        posted, wrong = list[Posted](), list[str]()
        for place, one in enumerate(raw):
            if place % TURN == 0:
                await asyncio.sleep(0)
            try:
                posted.append(posted_in(one))
            except ValueError as error:
                wrong.append(str(error))
        await self._outside.take(source, posted)
        if wrong:
            more = [f"and {len(wrong) - TOLD} more"] if len(wrong) > TOLD else []
            raise RefusedError("; ".join([*wrong[:TOLD], *more]))
        return Response(status_code=200)

    async def hook(self, request: Request) -> Response:
        """Take a notification of a real Alertmanager's webhook (version 4)."""
        body = await body_of(request)
        if not isinstance(body, dict) or not isinstance(body.get("alerts"), list):
            raise RefusedError("the body must be a webhook notification, with `alerts`")
        now = self._clock.now()
        raw = [hooked(one, now) for one in body["alerts"]]
        return await self._take(f"alertmanager {repaired(str(body.get('receiver', '')))[:50]}".strip(), raw)

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
        filters = [filter_in(text) for text in asked.getlist("filter")]
        receiver = pattern_in(asked.get("receiver", ""))
        now = self._clock.now()
        silences = await self._state.transaction(lambda connection: repository.silences(connection, now))
        firing = [it.alert for _, it in self._evaluating.ledger.all() if it.alert.status is Status.FIRING]
        isolation = Isolation()
        held = inhibited(self._dispatching.house, self._dispatching.picture, now, isolation)
        found = []
        for alert in firing:
            with isolation.item("alert", alert.fingerprint):
                if matches(filters, alert.labels):
                    told = self._alert(alert, silences, held, now)
                    if _is_wanted(told, asked, receiver):
                        found.append(told)
        self._state.quarantine.report("the Alertmanager API", isolation.failures)
        return sorted(found, key=lambda alert: alert["fingerprint"])

    def _alert(
        self, alert: Alert, silences: Iterable[Silence], held: Mapping[str, Inhibited], now: datetime
    ) -> dict[str, Any]:
        silenced = [it.id for it in silences if it.active(now) and matches(it.matchers, alert.labels)]
        by = [held[alert.fingerprint].source] if alert.fingerprint in held else []
        taken = self._dispatching.house.routing.take(alert.labels)
        channels = dict.fromkeys(channel for way in taken for channel in way.channels)
        return {
            "labels": dict(alert.labels),
            "annotations": dict(alert.annotations),
            "startsAt": time_out(alert.fired or alert.starts),
            "endsAt": time_out(alert.ends or now),
            "updatedAt": time_out(now),
            "fingerprint": alert.fingerprint,
            "generatorURL": alert.link,
            "receivers": [{"name": name} for name in channels],
            "status": {
                "state": "suppressed" if silenced or by else "active",
                "silencedBy": silenced,
                "inhibitedBy": by,
                "mutedBy": [],
            },
        }

    async def silences(self, request: Request) -> Response:
        """Answer silences, by `filter`."""
        filters = [filter_in(text) for text in request.query_params.getlist("filter")]
        now = self._clock.now()
        found = await self._state.transaction(repository.silences)
        chosen = [it for it in found if all(concerns(it, condition) for condition in filters)]
        return Json([silence_out(it, now) for it in chosen])

    async def one_silence(self, request: Request) -> Response:
        """Answer one silence."""
        found = await self._state.transaction(repository.silences)
        for silence in found:
            if silence.id == request.path_params["id"]:
                return Json(silence_out(silence, self._clock.now()))
        return Response(status_code=404)

    async def expire(self, request: Request) -> Response:
        """End a silence now."""
        name = request.path_params["id"]
        return Response(status_code=200 if await self._alerts.expire(name, "the Alertmanager API") else 404)

    async def silence(self, request: Request) -> Response:
        """Make a silence, or change one: its id stays where Alertmanager keeps it (`Alerts.keep`)."""
        body = await body_of(request)
        if not isinstance(body, dict):
            raise RefusedError("the body must be an object", structured=True)
        made = silence_in(body, self._clock.now())
        try:
            kept = await self._alerts.keep(made, instead_of=str(body.get("id") or ""))
        except WrongError as error:
            raise RefusedError(str(error)) from error
        if kept is None:
            return Json(f"silence {repaired(str(body['id']))[:100]} not found", 404)
        return Json({"silenceID": kept})

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
                "uptime": time_out(self._started),
                "versionInfo": {"version": toban.__version__, **version},
            }
        )


def _answered(answer: Answering) -> Answering:
    async def answered(request: Request) -> Response:
        try:
            return await answer(request)
        except RefusedError as error:
            return Json(error.body, error.status)
        except StateError as error:
            # Not 4xx: whoever sends alerts would give them up.
            return Json(str(error), 503)

    return answered


def _is_wanted(told: Mapping[str, Any], asked: Mapping[str, str], receiver: Any) -> bool:
    """Tell whether an alert is among those that are asked for."""
    if receiver and not any(receiver.fullmatch(it["name"]) for it in told["receivers"]):
        return False
    status = told["status"]
    return (
        (not status["silencedBy"] or _asked(asked, "silenced"))
        and (not status["inhibitedBy"] or _asked(asked, "inhibited"))
        and (status["state"] != "active" or _asked(asked, "active"))
    )


def _asked(asked: Mapping[str, str], name: str) -> bool:
    return asked.get(name, "true") != "false"
