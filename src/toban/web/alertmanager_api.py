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
from toban.alerting.external_alerts import ExternalAlerts, PostedAlert
from toban.alerting.service import EvaluationService
from toban.core.alerts import Alert, AlertStatus
from toban.core.errors import StateError
from toban.core.input_limits import repair_surrogates
from toban.core.item_isolation import ItemIsolation
from toban.core.labels import Labels
from toban.core.matchers import matches_all
from toban.core.ports import Clock
from toban.notify import repository
from toban.notify.pipeline_run import PipelineRun
from toban.notify.service import NotificationService
from toban.notify.silences import Silence
from toban.state.database import State
from toban.web.alertmanager_schema import (
    LARGEST,
    RequestError,
    error_response,
    format_time,
    is_silence_selected,
    parse_alert,
    parse_filter,
    parse_receiver_pattern,
    parse_silence,
    parse_webhook_alert,
    read_json,
    silence_json,
    source_of,
)
from toban.web.alerts_api import AlertsApi, InvalidRequestError
from toban.web.endpoint import JSON, Endpoint, Permission
from toban.web.json_response import JsonResponse

MOST: Final = 10_000
"""Alerts in one request."""
TURN: Final = 250
"""How many are read before others have a turn."""
TOLD: Final = 20
"""Mistakes of one request that are told."""

Answering = Callable[[Request], Coroutine[Any, Any, Response]]


class AlertmanagerApi:
    """Answers as Alertmanager does."""

    def __init__(
        self,
        evaluating: EvaluationService,
        outside: ExternalAlerts,
        dispatching: NotificationService,
        alerts: AlertsApi,
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
        post = partial(Endpoint, methods=["POST"], takes=JSON, largest=LARGEST, refuse=error_response)
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
        body = await read_json(request)
        if not isinstance(body, list):
            raise RequestError("parsing alerts body failed: it must be an array", structured=True)
        return await self._take(source_of(request), body)

    async def _take(self, source: str, raw: Sequence[Any]) -> Response:
        """Take the alerts that are right, and say what is wrong with the others, as Alertmanager does."""
        if len(raw) > MOST:
            raise RequestError(f"{len(raw)} alerts: at most {MOST} are accepted in one request", status=413)
        posted, wrong = list[PostedAlert](), list[str]()
        for place, one in enumerate(raw):
            if place % TURN == 0:
                await asyncio.sleep(0)
            try:
                posted.append(parse_alert(one))
            except ValueError as error:
                wrong.append(str(error))
        await self._outside.receive(source, posted)
        if wrong:
            more = [f"and {len(wrong) - TOLD} more"] if len(wrong) > TOLD else []
            raise RequestError("; ".join([*wrong[:TOLD], *more]))
        return Response(status_code=200)

    async def hook(self, request: Request) -> Response:
        """Take a notification of a real Alertmanager's webhook (version 4)."""
        body = await read_json(request)
        if not isinstance(body, dict) or not isinstance(body.get("alerts"), list):
            raise RequestError("the body must be a webhook notification, with `alerts`")
        now = self._clock.now()
        raw = [parse_webhook_alert(one, now) for one in body["alerts"]]
        return await self._take(f"alertmanager {repair_surrogates(str(body.get('receiver', '')))[:50]}".strip(), raw)

    async def alerts(self, request: Request) -> Response:
        """Answer alerts, by `filter`, `receiver`, and whether they are `active`, `silenced`, `inhibited`."""
        return JsonResponse(await self._found(request))

    async def groups(self, request: Request) -> Response:
        """Answer alerts in the groups in which they are told."""
        groups: dict[tuple[str, str], dict[str, Any]] = {}
        for alert in await self._found(request):
            for taken in self._dispatching.policy.routing.route(Labels(alert["labels"])):
                for channel in taken.channels:
                    labels = dict(taken.group_labels)
                    group = {"labels": labels, "receiver": {"name": channel}, "alerts": []}
                    groups.setdefault((channel, str(taken.group_labels)), group)["alerts"].append(alert)
        return JsonResponse(list(groups.values()))

    async def _found(self, request: Request) -> list[dict[str, Any]]:
        asked = request.query_params
        filters = [parse_filter(text) for text in asked.getlist("filter")]
        receiver = parse_receiver_pattern(asked.get("receiver", ""))
        now = self._clock.now()
        silences = await self._state.transaction(lambda connection: repository.silences(connection, now))
        firing = [it.alert for _, it in self._evaluating.store.all() if it.alert.status is AlertStatus.FIRING]
        isolation = ItemIsolation()
        run = self._dispatching.last_run
        found = []
        for alert in firing:
            with isolation.item("alert", alert.fingerprint):
                if matches_all(filters, alert.labels):
                    told = self._alert(alert, silences, run, now)
                    if _is_wanted(told, asked, receiver):
                        found.append(told)
        self._state.quarantine.report("the Alertmanager API", isolation.failures)
        return sorted(found, key=lambda alert: alert["fingerprint"])

    def _alert(self, alert: Alert, silences: Iterable[Silence], run: PipelineRun, now: datetime) -> dict[str, Any]:
        silenced = [it.id for it in silences if it.active(now) and matches_all(it.matchers, alert.labels)]
        source = run.inhibited_by.get(alert.fingerprint)
        by = [source] if source else []
        muted = list(run.muted_by.get(alert.fingerprint, ()))
        taken = self._dispatching.policy.routing.route(alert.labels)
        channels = dict.fromkeys(channel for way in taken for channel in way.channels)
        return {
            "labels": dict(alert.labels),
            "annotations": dict(alert.annotations),
            "startsAt": format_time(alert.fired or alert.starts),
            "endsAt": format_time(alert.ends or now),
            "updatedAt": format_time(now),
            "fingerprint": alert.fingerprint,
            "generatorURL": alert.link,
            "receivers": [{"name": name} for name in channels],
            "status": {
                "state": "suppressed" if silenced or by or muted else "active",
                "silencedBy": silenced,
                "inhibitedBy": by,
                "mutedBy": muted,
            },
        }

    async def silences(self, request: Request) -> Response:
        """Answer silences, by `filter`."""
        filters = [parse_filter(text) for text in request.query_params.getlist("filter")]
        now = self._clock.now()
        found = await self._state.transaction(repository.silences)
        chosen = [it for it in found if all(is_silence_selected(it, condition) for condition in filters)]
        return JsonResponse([silence_json(it, now) for it in chosen])

    async def one_silence(self, request: Request) -> Response:
        """Answer one silence."""
        found = await self._state.transaction(repository.silences)
        for silence in found:
            if silence.id == request.path_params["id"]:
                return JsonResponse(silence_json(silence, self._clock.now()))
        return Response(status_code=404)

    async def expire(self, request: Request) -> Response:
        """End a silence now."""
        name = request.path_params["id"]
        return Response(status_code=200 if await self._alerts.expire(name, "the Alertmanager API") else 404)

    async def silence(self, request: Request) -> Response:
        """Make a silence, or change one: its id stays where Alertmanager keeps it (`Alerts.keep`)."""
        body = await read_json(request)
        if not isinstance(body, dict):
            raise RequestError("the body must be an object", structured=True)
        made = parse_silence(body, self._clock.now())
        try:
            kept = await self._alerts.keep(made, instead_of=str(body.get("id") or ""))
        except InvalidRequestError as error:
            raise RequestError(str(error)) from error
        if kept is None:
            return JsonResponse(f"silence {repair_surrogates(str(body['id']))[:100]} not found", 404)
        return JsonResponse({"silenceID": kept})

    async def receivers(self, request: Request) -> Response:
        """Answer the channels."""
        return JsonResponse([{"name": name} for name in self._dispatching.workers])

    async def status(self, request: Request) -> Response:
        """Answer who this is."""
        version = dict.fromkeys(("revision", "branch", "buildUser", "buildDate", "goVersion"), "")
        return JsonResponse(
            {
                "cluster": {"status": "disabled", "peers": [], "name": ""},
                "config": {"original": "# toban: `toban export alertmanager` writes its routes as Alertmanager's\n"},
                "uptime": format_time(self._started),
                "versionInfo": {"version": toban.__version__, **version},
            }
        )


def _answered(answer: Answering) -> Answering:
    async def answered(request: Request) -> Response:
        try:
            return await answer(request)
        except RequestError as error:
            return JsonResponse(error.body, error.status)
        except StateError as error:
            # Not 4xx: whoever sends alerts would give them up.
            return JsonResponse(str(error), 503)

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
