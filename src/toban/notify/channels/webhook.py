"""Any program that understands Alertmanager's webhook."""

import hashlib
import hmac
from datetime import UTC, datetime
from typing import Any, Final, Literal

import orjson
from pydantic import Field

from toban.core.alerts import Alert, AlertStatus
from toban.core.config_types import Address, Secret, Text
from toban.core.labels import common_labels
from toban.notify.channel import AlertmanagerReceiver, Channel, ChannelTools, ConnectionCheck, Handle, Sealed
from toban.notify.connectivity import check_reachable
from toban.notify.http_delivery import delivery_error, post, secret_parts
from toban.notify.notification import Notification

MOST: Final = 500
"""How many alerts one body holds; how many more there were it says."""
_NEVER: Final = "0001-01-01T00:00:00Z"


class Webhook(Channel):
    """
    Post each message as JSON, in the form of Alertmanager's webhook (version 4), with toban's own words beside it.

    With a `secret`, the header `X-Toban-Signature` holds `sha256=` and the hex HMAC-SHA256 of the body.
    """

    kind: Literal["webhook"] = "webhook"

    url: Address
    """Where to post."""

    secret: Secret | None = None
    """A secret that both sides know, to sign bodies with."""

    token: Secret | None = None
    """Shown as `Authorization: Bearer …`."""

    headers: dict[str, Text] = Field(default_factory=dict)
    """More headers."""

    @property
    def is_idempotent(self) -> bool:
        """It can: by the header `Idempotency-Key`, or by Alertmanager's `groupKey`."""
        return True

    async def send(self, notification: Notification, handle: Handle, tools: ChannelTools) -> Handle:
        """Post it."""
        body = orjson.dumps(body_of(notification, tools.address))
        headers = {**self.headers, "content-type": "application/json", "idempotency-key": notification.key}
        secrets = [*secret_parts(self.url), *self.headers.values()]
        if self.token:
            token = self.token.get_secret_value()
            secrets.append(token)
            headers["authorization"] = f"Bearer {token}"
        if self.secret:
            key = self.secret.get_secret_value().encode()
            headers["x-toban-signature"] = f"sha256={hmac.new(key, body, hashlib.sha256).hexdigest()}"
        response = await post(tools, self.url, body, headers, name=self.name, secrets=secrets)
        if not response.is_success:
            raise delivery_error(response, self.name, secrets, tools.clock.now())
        return {}

    async def check_connection(self, tools: ChannelTools) -> ConnectionCheck:
        """Connect."""
        return await check_reachable(self.url, "whether it takes messages shows when one is sent")

    def receiver(self, sealed: Sealed) -> AlertmanagerReceiver:
        """Return it as `webhook_configs`."""
        access = {"authorization": {"credentials_file": sealed(self.name, self.token)}} if self.token else {}
        parts = {"url": self.url, **({"http_config": access} if access else {})}
        lost = [word for word, has in (("the signature", self.secret), ("its headers", self.headers)) if has]
        return AlertmanagerReceiver("webhook_configs", parts, " and ".join(lost))


def body_of(notification: Notification, address: str) -> dict[str, Any]:
    """Return a message in Alertmanager's form."""
    alerts = notification.alerts
    return {
        "version": "4",
        "groupKey": f"{{}}:{notification.group_labels}",
        "truncatedAlerts": max(0, len(alerts) - MOST),
        "status": "resolved" if notification.is_resolved else "firing",
        "receiver": notification.receiver,
        "groupLabels": dict(notification.group_labels),
        "commonLabels": common_labels([alert.labels for alert in alerts]),
        "commonAnnotations": common_labels([alert.annotations for alert in alerts]),
        "externalURL": address,
        "alerts": [_alert(alert) for alert in alerts[:MOST]],
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
        "startsAt": _written(alert.fired or alert.starts),
        "endsAt": _written(alert.ends) if over and alert.ends else _NEVER,
        "generatorURL": alert.link,
        "fingerprint": alert.fingerprint,
    }


def _written(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
