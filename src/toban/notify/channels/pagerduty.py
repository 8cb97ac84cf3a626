"""PagerDuty, by its Events API v2: https://developer.pagerduty.com/docs/events-api-v2-overview."""

import hashlib
from typing import Annotated, Any, ClassVar, Final, Literal

import orjson
import structlog
from pydantic import AfterValidator, SecretStr

from toban.core.alerts import Alert
from toban.core.config_types import Address, Secret
from toban.core.connection_check import ConnectionCheck
from toban.core.notification import Notification, NotificationKind
from toban.core.text_limits import truncate
from toban.notify.channel import AlertmanagerReceiver, Channel, ChannelTools, Handle, SecretFile
from toban.notify.connectivity import check_reachable

log = structlog.get_logger("toban.notify")

MAX_EVENT_BYTES: Final = 500_000
"""PagerDuty accepts 512 KB."""
REJECTIONS: Final = {"invalid event": True, "unrecognized object": True, "throttle exceeded": False}
"""Statuses of PagerDuty, whatever the HTTP status, and whether they are permanent."""
_SUMMARY: Final = 1024


def _key(secret: SecretStr) -> SecretStr:
    if len(secret.get_secret_value()) != 32:
        raise ValueError("an integration key has 32 characters: copy it from the service's Events API V2 integration")
    return secret


class Pagerduty(Channel):
    """
    Page whoever is on call at PagerDuty: an incident for each notification group, acknowledged and resolved with it.

    Messages that belong to no alert become change events, which page nobody.
    """

    kind: Literal["pagerduty"] = "pagerduty"

    pages: bool = True
    """Whether it wakes somebody: P1 alerts go there whatever their rule says."""

    calls_again: ClassVar[bool] = True

    key: Annotated[Secret, AfterValidator(_key)]
    """The integration key of a service (Events API V2)."""

    webhook_secret: Secret | None = None
    """
    The secret of a webhook subscription (v3) to `/hooks/pagerduty`: what people do at PagerDuty is then done here too.
    """

    api: Address = "https://events.pagerduty.com"
    """Where events go; https://events.eu.pagerduty.com for accounts in the EU."""

    @property
    def is_idempotent(self) -> bool:
        """It does, by the `dedup_key`."""
        return True

    @property
    def answer_hook(self) -> str:
        """Where PagerDuty sends events."""
        return "/hooks/pagerduty" if self.webhook_secret else ""

    async def send(self, notification: Notification, handle: Handle, tools: ChannelTools) -> Handle:
        """
        Trigger, acknowledge or resolve the incident of this group.

        PagerDuty silently drops a resolve event with another integration key than the trigger event: when the key was
        changed while an incident is open, somebody must close it there, and the log says so.
        """
        key = self.key.get_secret_value()
        key_hash = hashlib.sha256(key.encode()).hexdigest()[:12]
        if notification.kind is NotificationKind.NOTICE:
            await self._post("/v2/change/enqueue", self._change(notification, tools), tools)
            return handle
        if handle.get("key", key_hash) != key_hash:
            log.warning("integration key changed: close the old incident at PagerDuty", channel=self.name)
        event: dict[str, Any] = {"routing_key": key, "dedup_key": f"toban-{notification.group_id}"}
        if notification.kind is NotificationKind.RESOLVED:
            event["event_action"] = "resolve"
        elif notification.kind is NotificationKind.ACKNOWLEDGED and handle.get("key") == key_hash:
            event["event_action"] = "acknowledge"
        else:
            event = {**event, "event_action": "trigger", **self._trigger(notification, tools)}
        await self._post("/v2/enqueue", event, tools)
        if notification.kind is NotificationKind.ACKNOWLEDGED and event["event_action"] == "trigger":
            acknowledge = {name: event[name] for name in ("routing_key", "dedup_key")}
            await self._post("/v2/enqueue", {**acknowledge, "event_action": "acknowledge"}, tools)
        return {"key": key_hash}

    def _trigger(self, notification: Notification, tools: ChannelTools) -> dict[str, Any]:
        first = notification.alerts[0].labels if notification.alerts else {}
        severity = notification.severity if notification.severity in {"critical", "warning", "info"} else "error"
        return {
            "payload": {
                "summary": truncate(notification.title, _SUMMARY) or "toban",
                "source": first.get("instance") or first.get("job") or "toban",
                "severity": severity,
                "timestamp": notification.since.isoformat(),
                "component": first.get("job", ""),
                "group": tools.shop,
                "class": first.get("alertname", ""),
                "custom_details": _details(notification),
            },
            "client": "toban",
            **({"client_url": tools.address} if tools.address else {}),
            "links": [{"href": link.href, "text": link.text} for link in notification.links],
        }

    def _change(self, notification: Notification, tools: ChannelTools) -> dict[str, Any]:
        return {
            "routing_key": self.key.get_secret_value(),
            "payload": {
                "summary": truncate(notification.title, _SUMMARY),
                "source": "toban",
                "timestamp": notification.at.isoformat(),
                "custom_details": {"text": "\n".join(notification.lines)},
            },
        }

    async def _post(self, path: str, event: dict[str, Any], tools: ChannelTools) -> None:
        body = orjson.dumps(event)
        if len(body) > MAX_EVENT_BYTES:
            event["payload"]["custom_details"] = {"error": "omitted: the event would be too large"}
            body = orjson.dumps(event)
        response = await self.http(tools).post(self.api.rstrip("/") + path, body)
        if response.status == 202:
            return
        response.raise_for_status()
        response.raise_for_page("PagerDuty")
        # A proxy may answer 200 to a rejected event too.
        status = str(response.fields.get("status", "")).lower()
        if status in REJECTIONS:
            raise response.error(f"{status}: {response.error_text}", permanent=REJECTIONS[status])

    async def check_connection(self, tools: ChannelTools) -> ConnectionCheck:
        """Connect to the host."""
        return await check_reachable(self.api, "send a test notification to see whether the key is valid")

    def receiver(self, secret_file: SecretFile) -> AlertmanagerReceiver:
        """Return it as `pagerduty_configs`."""
        severity = '{{ if eq .CommonLabels.severity "critical" }}critical{{ else }}warning{{ end }}'
        parts = {
            "routing_key_file": secret_file(self.name, self.key),
            "url": f"{self.api.rstrip('/')}/v2/enqueue",
            "severity": severity,
            "description": "{{ .CommonAnnotations.summary }}",
        }
        return AlertmanagerReceiver("pagerduty_configs", parts, "that an alert was acknowledged")


def _details(notification: Notification) -> dict[str, Any]:
    return {
        "text": "\n".join(notification.lines),
        **{fact.name: fact.value for fact in notification.facts},
        "alerts": [_alert(alert) for alert in notification.alerts[:50]],
    }


def _alert(alert: Alert) -> dict[str, Any]:
    return {"status": alert.status.value, "labels": dict(alert.labels), "since": alert.starts.isoformat()}
