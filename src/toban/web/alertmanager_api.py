"""
The HTTP API of Alertmanager (version 2), so that `amtool` works and a Prometheus can send its alerts here.

https://github.com/prometheus/alertmanager/blob/main/api/v2/openapi.yaml
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

import toban
from toban.access.permissions import Permission
from toban.alerting.external_alerts import ExternalAlerts, PostedAlert
from toban.alerting.service import EvaluationService
from toban.core.alerts import Alert, AlertStatus
from toban.core.errors import InvalidCommandError, NotFoundError, StateError
from toban.core.input_limits import repair_surrogates
from toban.core.item_isolation import ItemIsolation
from toban.core.labels import Labels
from toban.core.matchers import matches_all
from toban.core.ports import Clock
from toban.notify.report import NotificationReport
from toban.notify.service import NotificationService
from toban.notify.silence_commands import SilenceCommands
from toban.notify.silences import Silence
from toban.state.quarantine import Quarantine
from toban.web.alertmanager_schema import (
    MAX_BYTES,
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
    silence_error,
    silence_json,
    source_of,
)
from toban.web.endpoint import JSON, Endpoint, actor
from toban.web.json_response import JsonResponse

MAX_ALERTS: Final = 10_000
"""Alerts in one request."""
SLICE: Final = 250
"""How many are read before other tasks have a turn."""
MAX_ERRORS: Final = 20
"""How many errors of one request are named."""

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class AlertmanagerApi:
    """Responds as Alertmanager does."""

    def __init__(
        self,
        evaluation: EvaluationService,
        external_alerts: ExternalAlerts,
        notifications: NotificationService,
        silences: SilenceCommands,
        quarantine: Quarantine,
        clock: Clock,
    ) -> None:
        self._evaluation = evaluation
        self._external_alerts = external_alerts
        self._notifications = notifications
        self._silences = silences
        self._quarantine = quarantine
        self._clock = clock
        self._started = clock.now()

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        read, push, act = Permission.READ, Permission.PUSH, Permission.ACT
        post = partial(Endpoint, methods=["POST"], takes=JSON, largest=MAX_BYTES, refuse=error_response)
        return [
            post("/api/v2/alerts", _with_errors(self.post), push),
            Endpoint("/api/v2/alerts", _with_errors(self.alerts), read),
            Endpoint("/api/v2/alerts/groups", _with_errors(self.groups), read),
            post("/api/v2/silences", _with_errors(self.post_silence), act),
            Endpoint("/api/v2/silences", _with_errors(self.silences), read),
            Endpoint("/api/v2/silence/{id}", _with_errors(self.get_silence), read),
            Endpoint("/api/v2/silence/{id}", _with_errors(self.expire), act, methods=["DELETE"]),
            Endpoint("/api/v2/receivers", _with_errors(self.receivers), read),
            Endpoint("/api/v2/status", _with_errors(self.status), read),
            post("/hooks/alertmanager", _with_errors(self.hook), push),
        ]

    async def post(self, request: Request) -> Response:
        """Receive alerts, as a Prometheus posts them: again and again while they fire."""
        body = await read_json(request)
        if not isinstance(body, list):
            raise RequestError("parsing alerts body failed: it must be an array", structured=True)
        return await self._post(request, source_of(request), body)

    async def _post(self, request: Request, source: str, raw: Sequence[Any]) -> Response:
        """Store the valid alerts, and return what is wrong with the others, as Alertmanager does."""
        if len(raw) > MAX_ALERTS:
            raise RequestError(f"{len(raw)} alerts: at most {MAX_ALERTS} are accepted in one request", status=413)
        posted, errors = list[PostedAlert](), list[str]()
        for place, one in enumerate(raw):
            if place % SLICE == 0:
                await asyncio.sleep(0)
            try:
                posted.append(parse_alert(one))
            except ValueError as error:
                errors.append(str(error))
        await self._external_alerts.post(source, posted, actor(request))
        if errors:
            more = [f"and {len(errors) - MAX_ERRORS} more"] if len(errors) > MAX_ERRORS else []
            raise RequestError("; ".join([*errors[:MAX_ERRORS], *more]))
        return Response(status_code=200)

    async def hook(self, request: Request) -> Response:
        """Receive a notification of a real Alertmanager's webhook (version 4)."""
        body = await read_json(request)
        if not isinstance(body, dict) or not isinstance(body.get("alerts"), list):
            raise RequestError("the body must be a webhook notification, with `alerts`")
        now = self._clock.now()
        raw = [parse_webhook_alert(one, now) for one in body["alerts"]]
        return await self._post(
            request, f"alertmanager {repair_surrogates(str(body.get('receiver', '')))[:50]}".strip(), raw
        )

    async def alerts(self, request: Request) -> Response:
        """Return alerts, by `filter`, `receiver`, and whether they are `active`, `silenced`, `inhibited`."""
        return JsonResponse(await self._alerts(request, self._notifications.report()))

    async def groups(self, request: Request) -> Response:
        """Return alerts in the groups in which they are notified."""
        report = self._notifications.report()
        groups: dict[tuple[str, str], dict[str, Any]] = {}
        for alert in await self._alerts(request, report):
            for destination in report.destinations(Labels(alert["labels"])):
                for channel in destination.channels:
                    group = {"labels": dict(destination.group_labels), "receiver": {"name": channel}, "alerts": []}
                    groups.setdefault((channel, str(destination.group_labels)), group)["alerts"].append(alert)
        return JsonResponse(list(groups.values()))

    async def _alerts(self, request: Request, report: NotificationReport) -> list[dict[str, Any]]:
        query = request.query_params
        filters = [parse_filter(text) for text in query.getlist("filter")]
        receiver = parse_receiver_pattern(query.get("receiver", ""))
        silences = await self._silences.all()
        isolation = ItemIsolation()
        found = []
        for alert in self._evaluation.report().alerts:
            with isolation.item("alert", alert.fingerprint):
                if alert.status is AlertStatus.FIRING and matches_all(filters, alert.labels):
                    shown = _alert(alert, silences, report)
                    if _is_selected(shown, query, receiver):
                        found.append(shown)
        self._quarantine.report("the Alertmanager API", isolation.failures)
        return sorted(found, key=lambda alert: alert["fingerprint"])

    async def silences(self, request: Request) -> Response:
        """Return silences, by `filter`."""
        filters = [parse_filter(text) for text in request.query_params.getlist("filter")]
        now = self._clock.now()
        chosen = [it for it in await self._silences.all() if all(is_silence_selected(it, one) for one in filters)]
        return JsonResponse([silence_json(it, now) for it in chosen])

    async def get_silence(self, request: Request) -> Response:
        """Return one silence."""
        try:
            silence = await self._silences.get(request.path_params["id"])
        except NotFoundError:
            return Response(status_code=404)
        return JsonResponse(silence_json(silence, self._clock.now()))

    async def expire(self, request: Request) -> Response:
        """Expire a silence."""
        try:
            await self._silences.expire(request.path_params["id"], actor(request))
        except NotFoundError:
            return Response(status_code=404)
        return Response(status_code=200)

    async def post_silence(self, request: Request) -> Response:
        """Create a silence, or change the one of an `id`."""
        body = await read_json(request)
        if not isinstance(body, dict):
            raise RequestError("the body must be an object", structured=True)
        spec = parse_silence(body)
        try:
            if silence_id := str(body.get("id") or ""):
                silence = await self._silences.replace(silence_id, spec, actor(request))
            else:
                silence = await self._silences.create(spec, actor(request))
        except InvalidCommandError as error:
            raise silence_error(error) from error
        except NotFoundError:
            return JsonResponse(f"silence {repair_surrogates(str(body['id']))[:100]} not found", 404)
        return JsonResponse({"silenceID": silence.id})

    async def receivers(self, request: Request) -> Response:
        """Return the channels."""
        return JsonResponse([{"name": channel.name} for channel in self._notifications.report().channels])

    async def status(self, request: Request) -> Response:
        """Return the version and the start time."""
        version = dict.fromkeys(("revision", "branch", "buildUser", "buildDate", "goVersion"), "")
        return JsonResponse(
            {
                "cluster": {"status": "disabled", "peers": [], "name": ""},
                "config": {"original": "# toban: `toban export alertmanager` writes its routes as Alertmanager's\n"},
                "uptime": format_time(self._started),
                "versionInfo": {"version": toban.__version__, **version},
            }
        )


def _with_errors(handler: Handler) -> Handler:
    async def respond(request: Request) -> Response:
        try:
            return await handler(request)
        except RequestError as error:
            return JsonResponse(error.body, error.status)
        except StateError as error:
            # Not 4xx: a client would drop its alerts.
            return JsonResponse(str(error), 503)

    return respond


def _alert(alert: Alert, silences: Iterable[Silence], report: NotificationReport) -> dict[str, Any]:
    silenced_by = [it.id for it in silences if it.active(report.at) and matches_all(it.matchers, alert.labels)]
    source = report.inhibited_by(alert.fingerprint)
    muted_by = list(report.muted_by(alert.fingerprint))
    channels = dict.fromkeys(channel for it in report.destinations(alert.labels) for channel in it.channels)
    return {
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "startsAt": format_time(alert.fired or alert.starts),
        "endsAt": format_time(alert.ends or report.at),
        "updatedAt": format_time(report.at),
        "fingerprint": alert.fingerprint,
        "generatorURL": alert.link,
        "receivers": [{"name": name} for name in channels],
        "status": {
            "state": "suppressed" if silenced_by or source or muted_by else "active",
            "silencedBy": silenced_by,
            "inhibitedBy": [source] if source else [],
            "mutedBy": muted_by,
        },
    }


def _is_selected(alert: Mapping[str, Any], query: Mapping[str, str], receiver: Any) -> bool:
    """Tell whether the query parameters select an alert."""
    if receiver and not any(receiver.fullmatch(it["name"]) for it in alert["receivers"]):
        return False
    status = alert["status"]
    return (
        (not status["silencedBy"] or _selects(query, "silenced"))
        and (not status["inhibitedBy"] or _selects(query, "inhibited"))
        and (status["state"] != "active" or _selects(query, "active"))
    )


def _selects(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "true") != "false"
