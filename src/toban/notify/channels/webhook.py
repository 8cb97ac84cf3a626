"""A webhook in Alertmanager's format."""

import hashlib
import hmac
from datetime import UTC, datetime
from typing import Any, Final, Literal

import orjson
from pydantic import Field

from toban.core.alerts import Alert, AlertStatus
from toban.core.config_types import Address, Secret, Text
from toban.core.connection_check import ConnectionCheck
from toban.core.labels import common_labels
from toban.core.notification import Notification
from toban.notify.channel import AlertmanagerReceiver, Channel, ChannelTools, Handle, SecretFile
from toban.notify.connectivity import check_reachable

MAX_ALERTS: Final = 500
"""How many alerts one body holds; `truncatedAlerts` counts the rest."""
_NEVER: Final = "0001-01-01T00:00:00Z"


class Webhook(Channel):
    """
    Post each message as JSON in the format of Alertmanager's webhook (version 4), with a field `toban` added.

    With a `secret`, the header `X-Toban-Signature` holds `sha256=` and the hex HMAC-SHA256 of the body.
    """

    kind: Literal["webhook"] = "webhook"

    url: Address
    """The URL to post to."""

    secret: Secret | None = None
    """A shared secret to sign bodies with."""

    token: Secret | None = None
    """Sent as `Authorization: Bearer …`."""

    headers: dict[str, Text] = Field(default_factory=dict)
    """Additional headers."""

    @property
    def is_idempotent(self) -> bool:
        """It does, by the header `Idempotency-Key`, or by Alertmanager's `groupKey`."""
        return True

    async def send(self, notification: Notification, handle: Handle, tools: ChannelTools) -> Handle:
        """Post it."""
        body = orjson.dumps(body_of(notification, tools.address))
        headers = {**self.headers, "idempotency-key": notification.key}
        if self.token:
            headers["authorization"] = f"Bearer {self.token.get_secret_value()}"
        if self.secret:
            key = self.secret.get_secret_value().encode()
            headers["x-toban-signature"] = f"sha256={hmac.new(key, body, hashlib.sha256).hexdigest()}"
        response = await self.http(tools, *self.headers.values()).post(self.url, body, headers)
        response.raise_for_status()
        return {}

    async def check_connection(self, tools: ChannelTools) -> ConnectionCheck:
        """Connect to the host."""
        return await check_reachable(self.url, "send a test notification to see whether it accepts messages")

    def receiver(self, secret_file: SecretFile) -> AlertmanagerReceiver:
        """Return it as `webhook_configs`."""
        access = {"authorization": {"credentials_file": secret_file(self.name, self.token)}} if self.token else {}
        parts = {"url": self.url, **({"http_config": access} if access else {})}
        lost = [word for word, has in (("the signature", self.secret), ("its headers", self.headers)) if has]
        return AlertmanagerReceiver("webhook_configs", parts, " and ".join(lost))


def body_of(notification: Notification, address: str) -> dict[str, Any]:
    """Return a message in Alertmanager's format."""
    alerts = notification.alerts
    return {
        "version": "4",
        "groupKey": f"{{}}:{notification.group_labels}",
        "truncatedAlerts": max(0, len(alerts) - MAX_ALERTS),
        "status": "resolved" if notification.is_resolved else "firing",
        "receiver": notification.receiver,
        "groupLabels": dict(notification.group_labels),
        "commonLabels": common_labels([alert.labels for alert in alerts]),
        "commonAnnotations": common_labels([alert.annotations for alert in alerts]),
        "externalURL": address,
        "alerts": [_alert(alert) for alert in alerts[:MAX_ALERTS]],
        "toban": {
            "kind": notification.kind.value,
            "group_id": notification.group_id,
            "number": notification.number,
            "severity": notification.severity,
            "title": notification.title,
            "lines": list(notification.lines),
        },
    }


def _alert(alert: Alert) -> dict[str, Any]:
    over = alert.status is AlertStatus.RESOLVED
    return {
        "status": "resolved" if over else "firing",
        "labels": dict(alert.labels),
        "annotations": dict(alert.annotations),
        "startsAt": _rfc3339(alert.fired or alert.starts),
        "endsAt": _rfc3339(alert.ends) if over and alert.ends else _NEVER,
        "generatorURL": alert.link,
        "fingerprint": alert.fingerprint,
    }


def _rfc3339(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
