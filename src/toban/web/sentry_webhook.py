"""Sentry's webhook: its alerts become alerts here (https://docs.sentry.io/organization/integrations/integration-platform/webhooks/)."""

import asyncio
import hashlib
import hmac
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import orjson
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response

from toban.access.permissions import Permission
from toban.alerting.external_alerts import ExternalAlerts, PostedAlert, posted_alert
from toban.core.actor import Actor
from toban.core.alerts import Alert
from toban.core.labels import Labels
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock
from toban.core.samples import counter
from toban.core.untyped_json import as_mapping, as_time
from toban.web.endpoint import JSON, Endpoint
from toban.web.problem_details import problem
from toban.web.request_bodies import RETRY_AFTER, BodyError, read_body

MAX_BYTES: Final = 2**20
"""An event has up to a megabyte."""

SOURCE: Final = "sentry"
SENTRY: Final = Actor("Sentry", "webhook")
"""Whoever knows the client secret."""

RESPONSE_SECONDS: Final = 0.8
"""Sentry waits for a second, and stops sending after many responses that take longer."""

MAX_WAITING: Final = 100
"""How many webhooks may wait for state."""

MAX_AGE: Final = timedelta(hours=1)
"""How old the event of an alert may be: an older one is a replay."""

REMEMBERED: Final = 10_000
"""How many bodies are remembered, to recognize a replay."""

ISSUE_TIMEOUT: Final = timedelta(hours=6)
"""How long an alert about an issue fires, unless its rule fires again or the issue is resolved."""

METRIC_TIMEOUT: Final = timedelta(days=1)
"""How long a metric alert fires, unless Sentry sends that it is resolved."""

ISSUE, METRIC = "sentry_issue", "sentry_metric_alert"

SEVERITIES: Final = {"fatal": "critical", "critical": "critical", "debug": "info", "info": "info", "sample": "info"}
"""Severities by Sentry's level; all others are warnings."""

RESOURCES: Final = frozenset({"event_alert", "issue", "metric_alert", "installation"})

ENDED: Final = frozenset({"resolved", "archived", "ignored"})
"""Actions after which nobody has to look at an issue."""

WEBHOOKS: Final = counter(
    "toban_sentry_webhooks_total",
    "Webhooks of Sentry by resource and outcome: accepted, ignored, unsigned, replayed, invalid, too_large, busy.",
    labels=["resource", "outcome"],
)

_PROJECT: Final = re.compile(r"/projects/[\w.-]{1,100}/([\w.-]{1,100})/")


class ReceivedBodies:
    """What was received lately, by its signature: the time that Sentry sends is not part of what it signs."""

    def __init__(self) -> None:
        self._signatures: dict[str, None] = {}

    def add(self, signature: str) -> bool:
        """Remember a signature; tell whether it is new."""
        if signature in self._signatures:
            return False
        self._signatures[signature] = None
        if len(self._signatures) > REMEMBERED:
            del self._signatures[next(iter(self._signatures))]
        return True


class SentryWebhook:
    """Receives what Sentry posts: signed JSON."""

    def __init__(
        self,
        external_alerts: ExternalAlerts,
        secret: Callable[[], SecretStr | None],
        received: ReceivedBodies,
        clock: Clock,
        meters: MetricRegistry,
    ) -> None:
        self._alerts = external_alerts
        self._secret = secret
        self._received = received
        self._clock = clock
        self._meters = meters
        self._posting: set[asyncio.Task[None]] = set()

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        # Sentry has no token of toban's: its signature is checked instead.
        return [
            Endpoint("/hooks/sentry", self.hook, Permission.PUBLIC, methods=["POST"], takes=JSON, largest=MAX_BYTES)
        ]

    async def hook(self, request: Request) -> Response:
        """Receive one webhook; the response does not wait for state longer than Sentry waits."""
        resource = request.headers.get("sentry-hook-resource", "")
        try:
            outcome, response = await self._receive(request, resource)
        except BodyError:
            self._count(resource, "too_large")
            raise
        self._count(resource, outcome)
        return response

    async def _receive(self, request: Request, resource: str) -> tuple[str, Response]:
        body, secret = await read_body(request), self._secret()
        signature = request.headers.get("sentry-hook-signature", "")
        if secret is None:
            return "unsigned", problem(403, "errors.sentry_client_secret is not set")
        if not is_signed(secret, body, signature):
            return "unsigned", problem(
                403, "the signature is wrong: is errors.sentry_client_secret the client secret of the integration?"
            )
        if len(self._posting) >= MAX_WAITING:
            return "busy", problem(503, "state is too slow: retry", headers={"retry-after": str(RETRY_AFTER)})
        now = self._clock.now()
        try:
            content = orjson.loads(body)
            posted = alerts(resource, content, self._alerts.firing(SOURCE), now)
        except ValueError as error:
            return "invalid", problem(400, str(error))
        if is_old(resource, content, now) or not self._received.add(signature):
            return "replayed", problem(409, "this was received before, or its event is more than an hour old")
        if not posted:
            return "ignored", Response(status_code=200)
        await self._post(posted)
        return "accepted", Response(status_code=200)

    async def _post(self, posted: Sequence[PostedAlert]) -> None:
        task = asyncio.create_task(self._alerts.post(SOURCE, posted, SENTRY), name="sentry webhook")
        self._posting.add(task)
        task.add_done_callback(self._posting.discard)
        await asyncio.wait([task], timeout=RESPONSE_SECONDS)
        if task.done():
            task.result()

    def _count(self, resource: str, outcome: str) -> None:
        self._meters.add(WEBHOOKS, resource=resource if resource in RESOURCES else "other", outcome=outcome)


def is_signed(secret: SecretStr, body: bytes, signature: str) -> bool:
    """Tell whether a body, as it was received, has the right signature."""
    wanted = hmac.new(secret.get_secret_value().encode(), body, hashlib.sha256).hexdigest()
    return hmac.compare_digest(wanted.encode(), signature.encode())


def is_old(resource: str, body: Mapping[str, Any], now: datetime) -> bool:
    """Tell whether an alert is about an event of long ago; what has no time is not."""
    if resource != "event_alert":
        return False
    event = as_mapping(as_mapping(body.get("data")).get("event"))
    at = as_time(event.get("datetime"))
    return at is not None and now - at > MAX_AGE


def alerts(resource: str, body: object, firing: Sequence[Alert], now: datetime) -> list[PostedAlert]:
    """
    Return the alerts that a webhook begins, repeats or ends, given those that fire.

    Raises ``ValueError`` where an alert lacks what identifies it, or has values that are too long.
    """
    if not isinstance(body, dict):
        raise ValueError("the body is no JSON object")  # noqa: TRY004  # handled like any invalid input
    action, data = str(body.get("action", "")), as_mapping(body.get("data"))
    if resource == "event_alert" and action == "triggered":
        return [_issue_alert(data, firing, now)]
    if resource == "issue" and action in ENDED:
        issue = _identifier(as_mapping(data.get("issue")).get("id"), "data.issue.id")
        return [_ended(it, now) for it in firing if it.name == ISSUE and it.labels.get("issue_id") == issue]
    if resource == "metric_alert":
        return _metric_alerts(action, data, firing, now)
    return []


def _issue_alert(data: Mapping[str, Any], firing: Sequence[Alert], now: datetime) -> PostedAlert:
    event = as_mapping(data.get("event"))
    issue = _identifier(event.get("issue_id"), "data.event.issue_id")
    rule, level = _text(data.get("triggered_rule")), _text(event.get("level")) or "error"
    found = _PROJECT.search(_text(event.get("url")))
    labels: Mapping[str, str] = {
        "alertname": ISSUE,
        "severity": SEVERITIES.get(level, "warning"),
        "project": found[1] if found else _text(event.get("project")),
        "level": level,
        "issue_id": issue,
        "rule": rule,
    }
    # The level of an issue may change from event to event: it stays the same alert.
    same = (it for it in firing if it.name == ISSUE and it.labels.get("issue_id") == issue)
    before = next((it for it in same if it.labels.get("rule", "") == rule), None)
    title = _text(event.get("title")) or f"issue {issue}"
    annotations = {
        "summary": f"Sentry: {title}",
        "summary_ja": f"Sentry: {title}",
        "description": _text(event.get("culprit")),
        "action": "Look at the issue at Sentry; resolve it there to end this alert.",
        "action_ja": "Sentry で課題を確認してください。Sentry で解決するとこのアラートも終わります。",
    }
    return posted_alert(
        before.labels if before else labels,
        annotations,
        min(as_time(event.get("datetime")) or now, now),
        now + ISSUE_TIMEOUT,
        _link(event.get("web_url")),
    )


def _metric_alerts(action: str, data: Mapping[str, Any], firing: Sequence[Alert], now: datetime) -> list[PostedAlert]:
    incident = as_mapping(data.get("metric_alert"))
    rule = as_mapping(incident.get("alert_rule"))
    number = _identifier(rule.get("id") or incident.get("id"), "data.metric_alert.alert_rule.id")
    same = [it for it in firing if it.name == METRIC and it.labels.get("rule_id") == number]
    if action == "resolved":
        return [_ended(it, now) for it in same]
    if action not in {"critical", "warning"}:
        return []
    title = _text(data.get("description_title")) or _text(incident.get("title")) or f"metric alert {number}"
    labels = {
        "alertname": METRIC,
        "severity": action,
        "rule": _text(rule.get("name")) or _text(incident.get("title")),
        "rule_id": number,
    }
    annotations = {
        "summary": f"Sentry: {title}",
        "summary_ja": f"Sentry: {title}",
        "description": _text(data.get("description_text")),
    }
    begun = posted_alert(labels, annotations, now, now + METRIC_TIMEOUT, _link(data.get("web_url")))
    return [begun, *(_ended(it, now) for it in same if it.labels != begun.labels)]


def _ended(alert: Alert, now: datetime) -> PostedAlert:
    return PostedAlert(Labels(alert.labels), alert.annotations, None, now, alert.link)


def _identifier(value: object, place: str) -> str:
    """Return the number of an issue or rule, which Sentry sends as a text or a number. Raises ``ValueError``."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if not re.fullmatch(r"[\w.-]{1,64}", text):
        raise ValueError(f"{place} is missing or invalid")
    return text


def _text(value: object) -> str:
    """Return a text of 500 characters at most; a number as a text."""
    return str(value)[:500] if isinstance(value, str | int) else ""


def _link(value: object) -> str:
    url = _text(value)
    return url if url.startswith(("https://", "http://")) else ""
