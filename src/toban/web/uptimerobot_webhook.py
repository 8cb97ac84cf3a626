"""UptimeRobot's webhook: its events become alerts."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final
from urllib.parse import parse_qsl

import orjson
import re2
from starlette.requests import Request
from starlette.responses import Response

from toban.access.permissions import Permission
from toban.alerting.external_alerts import ExternalAlerts, PostedAlert, posted_alert
from toban.core.ports import Clock
from toban.web.endpoint import FORM, JSON, Endpoint, actor
from toban.web.problem_details import problem
from toban.web.request_bodies import read_body

MAX_BYTES: Final = 100_000
DOWN, UP, CERTIFICATE = "1", "2", "3"

DOWN_TIMEOUT: Final = timedelta(days=365)
"""How long an alert fires without a further event: UptimeRobot sends one when the monitor is up again."""

CERTIFICATE_TIMEOUT: Final = timedelta(days=1)
"""How long an alert about a certificate fires: UptimeRobot repeats it now and then."""

# Values are put into the template unescaped: a quote in one of them makes it invalid JSON.
_OPENING: Final = re2.compile(r'[{,]\s*"(\w+)"\s*:\s*"')

MAX_FIELDS: Final = 100
"""How many fields an event may have."""

TEXTS: Final = {
    DOWN: ("uptimerobot_down", "critical", "{name} can't be reached from outside", "{name} に外部から接続できません"),
    CERTIFICATE: (
        "uptimerobot_certificate",
        "warning",
        "The certificate of {name} expires soon",
        "{name} の証明書の期限が近づいています",
    ),
}


class UptimerobotWebhook:
    """Receives what UptimeRobot posts: JSON of the documented template, a form, or a query."""

    def __init__(self, external_alerts: ExternalAlerts, clock: Clock) -> None:
        self._alerts = external_alerts
        self._clock = clock

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [
            # Not by GET, which UptimeRobot offers too: an image on any page could create alerts.
            Endpoint(
                "/hooks/uptimerobot",
                self.hook,
                Permission.PUSH,
                methods=["POST"],
                takes=JSON | FORM,
                largest=MAX_BYTES,
            )
        ]

    async def hook(self, request: Request) -> Response:
        """Receive one event."""
        body = await read_body(request)
        fields = parse_fields(body.decode("utf-8", "replace"), dict(request.query_params))
        try:
            posted = alerts(fields, self._clock.now())
        except ValueError as error:
            return problem(400, str(error))
        if not posted:
            wanted = "monitorID and alertType (1 down, 2 up, 3 certificate): see docs/send-alerts.md for the template"
            return problem(400, f"the event has no {wanted}")
        await self._alerts.post("uptimerobot", posted, actor(request))
        return Response(status_code=200)


def parse_fields(body: str, query: Mapping[str, str]) -> dict[str, str]:
    """Return the fields of an event, in whatever form it is sent, invalid JSON too."""
    fields = dict(query)
    try:
        found = orjson.loads(body)
        fields |= {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}
    except ValueError:
        pairs = body.split("&", MAX_FIELDS)[:MAX_FIELDS]
        fields |= _broken(body) if body.lstrip().startswith("{") else dict(parse_qsl("&".join(pairs)))
    return fields


def _broken(body: str) -> dict[str, str]:
    """Read invalid JSON of strings: a value ends where the next name begins."""
    openings = list(islice(_OPENING.finditer(body), MAX_FIELDS))
    if not openings:
        return {}
    ends = [opening.start() for opening in openings[1:]] + [len(body)]
    values = (body[it.end() : end].rstrip().removesuffix("}").rstrip() for it, end in zip(openings, ends, strict=True))
    return {it[1]: value.removesuffix('"') for it, value in zip(openings, values, strict=True)}


def alerts(fields: Mapping[str, str], now: datetime) -> list[PostedAlert]:
    """
    Return the alerts that an event begins or ends; none without a monitor, or for an unknown kind of event.

    Raises ``ValueError`` for values that are too long.
    """
    kind, monitor = fields.get("alertType", ""), fields.get("monitorID", "")
    if not monitor or kind not in {DOWN, UP, CERTIFICATE}:
        return []
    name = fields.get("monitorFriendlyName") or fields.get("monitorURL") or monitor
    url = fields.get("monitorURL", "").partition("?")[0]
    at = _time(fields.get("alertDateTime", ""), now)
    alert, severity, english, japanese = TEXTS[DOWN if kind == UP else kind]
    labels = {"alertname": alert, "severity": severity, "monitor": name, "monitor_id": monitor, "instance": url}
    annotations = {"summary": english.format(name=name), "summary_ja": japanese.format(name=name)}
    if fields.get("alertDetails"):
        annotations["description"] = fields["alertDetails"][:500]
    ends = at if kind == UP else now + (DOWN_TIMEOUT if kind == DOWN else CERTIFICATE_TIMEOUT)
    return [posted_alert(labels, annotations, min(at, ends), ends)]


def _time(text: str, now: datetime) -> datetime:
    """Return a time from Unix seconds; now, where it is missing or in the future."""
    is_time = text.isascii() and text.isdecimal() and len(text) <= 11
    return min(datetime.fromtimestamp(int(text), UTC), now) if is_time else now
