"""UptimeRobot's webhook: what it saw from outside, as an alert."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import parse_qsl

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from toban.alerting.outside import Outside, Posted, posted
from toban.core.ports import Clock
from toban.web.bodies import BodyError, body_of
from toban.web.json import Json

LARGEST: Final = 100_000
DOWN, UP, CERTIFICATE = "1", "2", "3"

LASTS: Final = timedelta(days=365)
"""How long it is believed: it says itself when it is over."""

REMINDED: Final = timedelta(days=1)
"""How long a certificate's end is told: it reminds only now and then."""

# Values are put into the template as they are: a quote in one of them makes the whole no JSON.
_FIELD: Final = re.compile(r'"(\w+)"\s*:\s*"(.*?)"\s*(?=[,}]\s*(?:"\w+"\s*:|$|\}))', re.DOTALL)

TEXTS: Final = {
    DOWN: ("uptimerobot_down", "critical", "{name} can't be reached from outside", "{name} に外部から接続できません"),
    CERTIFICATE: (
        "uptimerobot_certificate",
        "warning",
        "The certificate of {name} ends soon",
        "{name} の証明書の期限が近づいています",
    ),
}


class Uptimerobot:
    """Takes what UptimeRobot posts, in each of its forms: JSON by the documented template, a form, or a query."""

    def __init__(self, outside: Outside, clock: Clock) -> None:
        self._outside = outside
        self._clock = clock

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route("/hooks/uptimerobot", self.hook, methods=["GET", "POST"])]

    async def hook(self, request: Request) -> Response:
        """Take one event."""
        try:
            body = await body_of(request, LARGEST)
        except BodyError as error:
            return Json({"error": str(error)}, error.status)
        said = fields(body.decode("utf-8", "replace"), dict(request.query_params))
        try:
            posted = alerts(said, self._clock.now())
        except ValueError as error:
            return Json({"error": str(error)}, 400)
        if not posted:
            wanted = "monitorID and alertType (1 down, 2 up, 3 certificate): see docs/NOTIFYING.md for the template"
            return Json({"error": f"the event says no {wanted}"}, 400)
        await self._outside.take("uptimerobot", posted)
        return Response(status_code=200)


def fields(body: str, query: Mapping[str, str]) -> dict[str, str]:
    """Return what an event says, in whatever form it came, broken JSON too."""
    said = dict(query)
    try:
        found = orjson.loads(body)
        said |= {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}
    except ValueError:
        said |= dict(_FIELD.findall(body) if body.lstrip().startswith("{") else parse_qsl(body))
    return said


def alerts(said: Mapping[str, str], now: datetime) -> list[Posted]:
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
    return [posted(labels, annotations, min(at, ends), ends)]


def _time(text: str, now: datetime) -> datetime:
    """Return a time in Unix seconds; now, where there is none or one of the future."""
    return min(datetime.fromtimestamp(int(text), UTC), now) if re.fullmatch(r"\d{1,11}", text) else now
