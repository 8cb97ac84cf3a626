"""UptimeRobot's webhook: what it saw from outside, as an alert."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final
from urllib.parse import parse_qsl

import orjson
import re2
from starlette.requests import Request
from starlette.responses import Response

from toban.alerting.external_alerts import ExternalAlerts, PostedAlert, posted_alert
from toban.core.ports import Clock
from toban.web.endpoint import FORM, JSON, Endpoint, Permission
from toban.web.json_response import JsonResponse
from toban.web.request_bodies import read_body

LARGEST: Final = 100_000
DOWN, UP, CERTIFICATE = "1", "2", "3"

LASTS: Final = timedelta(days=365)
"""How long it is believed: it says itself when it is over."""

REMINDED: Final = timedelta(days=1)
"""How long a certificate's end is told: it reminds only now and then."""

# Values are put into the template as they are: a quote in one of them makes the whole no JSON.
_OPENING: Final = re2.compile(r'[{,]\s*"(\w+)"\s*:\s*"')

FIELDS: Final = 100
"""How many fields an event may have."""

TEXTS: Final = {
    DOWN: ("uptimerobot_down", "critical", "{name} can't be reached from outside", "{name} に外部から接続できません"),
    CERTIFICATE: (
        "uptimerobot_certificate",
        "warning",
        "The certificate of {name} ends soon",
        "{name} の証明書の期限が近づいています",
    ),
}


class UptimerobotWebhook:
    """Takes what UptimeRobot posts: JSON by the documented template, a form, or a query."""

    def __init__(self, outside: ExternalAlerts, clock: Clock) -> None:
        self._outside = outside
        self._clock = clock

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [
            # Never by GET, as UptimeRobot offers: a picture on any page would make alerts.
            Endpoint(
                "/hooks/uptimerobot",
                self.hook,
                Permission.PUSH,
                methods=["POST"],
                takes=JSON | FORM,
                largest=LARGEST,
            )
        ]

    async def hook(self, request: Request) -> Response:
        """Take one event."""
        body = await read_body(request)
        said = parse_fields(body.decode("utf-8", "replace"), dict(request.query_params))
        try:
            posted = alerts(said, self._clock.now())
        except ValueError as error:
            return JsonResponse({"error": str(error)}, 400)
        if not posted:
            wanted = "monitorID and alertType (1 down, 2 up, 3 certificate): see docs/NOTIFYING.md for the template"
            return JsonResponse({"error": f"the event says no {wanted}"}, 400)
        await self._outside.receive("uptimerobot", posted)
        return Response(status_code=200)


def parse_fields(body: str, query: Mapping[str, str]) -> dict[str, str]:
    """Return what an event says, in whatever form it came, broken JSON too."""
    said = dict(query)
    try:
        found = orjson.loads(body)
        said |= {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}
    except ValueError:
        pairs = body.split("&", FIELDS)[:FIELDS]
        said |= _broken(body) if body.lstrip().startswith("{") else dict(parse_qsl("&".join(pairs)))
    return said


def _broken(body: str) -> dict[str, str]:
    """Read what was to be an object of texts: a value goes on until the next name."""
    openings = list(islice(_OPENING.finditer(body), FIELDS))
    if not openings:
        return {}
    ends = [opening.start() for opening in openings[1:]] + [len(body)]
    values = (body[it.end() : end].rstrip().removesuffix("}").rstrip() for it, end in zip(openings, ends, strict=True))
    return {it[1]: value.removesuffix('"') for it, value in zip(openings, values, strict=True)}


def alerts(said: Mapping[str, str], now: datetime) -> list[PostedAlert]:
    """
    Return the alerts that an event begins or ends; none, when it names no monitor or is of an unknown sort.

    Raises ``ValueError`` for what is longer than is accepted.
    """
    sort, monitor = said.get("alertType", ""), said.get("monitorID", "")
    if not monitor or sort not in {DOWN, UP, CERTIFICATE}:
        return []
    name = said.get("monitorFriendlyName") or said.get("monitorURL") or monitor
    url = said.get("monitorURL", "").partition("?")[0]
    at = _time(said.get("alertDateTime", ""), now)
    alert, severity, english, japanese = TEXTS[DOWN if sort == UP else sort]
    labels = {"alertname": alert, "severity": severity, "monitor": name, "monitor_id": monitor, "instance": url}
    annotations = {"summary": english.format(name=name), "summary_ja": japanese.format(name=name)}
    if said.get("alertDetails"):
        annotations["description"] = said["alertDetails"][:500]
    ends = at if sort == UP else now + (LASTS if sort == DOWN else REMINDED)
    return [posted_alert(labels, annotations, min(at, ends), ends)]


def _time(text: str, now: datetime) -> datetime:
    """Return a time in Unix seconds; now, where there is none or one of the future."""
    is_time = text.isascii() and text.isdecimal() and len(text) <= 11
    return min(datetime.fromtimestamp(int(text), UTC), now) if is_time else now
