"""Whatever Apprise reaches: LINE, Teams, Discord and a hundred more. https://appriseit.com/services/."""

import asyncio
import re
from types import ModuleType
from typing import Any, Final, Literal

from toban.core.backoff import RETRYABLE_STATUSES
from toban.core.config_types import Secret
from toban.core.connection_check import ConnectionCheck
from toban.core.errors import DeliveryError
from toban.core.notification import Notification
from toban.core.text_limits import one_line, safe_text
from toban.notify.channel import Channel, ChannelTools, Handle
from toban.notify.texts import texts

EXTRA: Final = "pip install 'toban[apprise]'"
UNREAD: Final = "Apprise can't read the address: see its list of services"


class Apprise(Channel):
    """
    Send to one of the services that Apprise supports, by its Apprise URL.

    Each change of a group is a new message: Apprise reports neither the response of a service nor a way to update a
    message. Needs the extra: `pip install 'toban[apprise]'`.
    """

    kind: Literal["apprise"] = "apprise"

    url: Secret
    """The Apprise URL of the service, like `discord://…/…` or `line://…`; it is a secret."""

    async def send(self, notification: Notification, handle: Handle, tools: ChannelTools) -> Handle:
        """Send it; the reason of a failure is what Apprise logs."""
        apprise = await asyncio.to_thread(_library)
        if apprise is None:
            raise DeliveryError(f"{self.name}: Apprise is not installed: {EXTRA}", permanent=True)
        service = self._service(apprise)
        if service is None:
            raise DeliveryError(f"{self.name}: {UNREAD}", permanent=True)
        say = texts(notification.language)
        state = say[f"kind-{notification.kind.value}"]
        sort = "success" if notification.is_resolved else {"critical": "failure"}.get(notification.severity, "warning")
        logged: list[str] = []

        def deliver() -> bool:
            return bool(
                service.notify(
                    _body(notification),
                    title=one_line(f"{state}: {notification.title}"),
                    notify_type=sort,
                    body_format="text",
                    log_callback=lambda entry, _: logged.append(str(entry.message)),
                )
            )

        # Its plugins wait in `requests`, four seconds at a time; a thread that is given up goes on.
        tools.attempt.unanswered = True
        delivered = await asyncio.to_thread(deliver)
        tools.attempt.unanswered = False
        if not delivered:
            why = safe_text("; ".join(logged), self.secrets()) or "no reason given"
            raise DeliveryError(f"{self.name}: not delivered: {why}", permanent=_is_final(why))
        return {}

    async def check_connection(self, tools: ChannelTools) -> ConnectionCheck:
        """Let Apprise parse the address; nothing is sent to the service."""
        apprise = await asyncio.to_thread(_library)
        if apprise is None:
            return ConnectionCheck(ok=False, message=f"Apprise is not installed: {EXTRA}")
        service = self._service(apprise)
        if service is None:
            return ConnectionCheck(ok=False, message=UNREAD)
        name = next(iter(service)).service_name
        return ConnectionCheck(
            ok=True, message=f"Apprise reads the address as {name}; send a test notification to see whether it is valid"
        )

    def _service(self, apprise: ModuleType) -> Any:
        """Return the service, nothing if the address is none of Apprise's."""
        # Nothing is kept on disk; no pictures from a public address, no advertisement. What a message carries, keys
        # among it, goes to the service that was named, and to no other that it names.
        asset = apprise.AppriseAsset(
            app_id="toban",
            app_desc="toban",
            app_url="",
            image_url_mask=None,
            storage_mode="memory",
            secure_logging=True,
            http_redirects=False,
        )
        service = apprise.Apprise(asset=asset)
        return service if service.add(self.url.get_secret_value()) else None


def _library() -> ModuleType | None:
    # Half a second, the first time: not in the loop.
    try:
        import apprise
    except ImportError:
        return None
    return apprise


def _is_final(why: str) -> bool:
    """Tell whether Apprise's log names an HTTP status that is permanent."""
    found = re.search(r"\berror=(4\d\d)\b", why)
    return found is not None and int(found[1]) not in RETRYABLE_STATUSES


def _body(notification: Notification) -> str:
    facts = [f"{fact.name}: {fact.value}" for fact in notification.facts]
    links = [f"{link.text}: {link.href}" for link in notification.links]
    return "\n".join([*notification.lines, *facts, *links])
