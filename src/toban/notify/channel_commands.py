"""Commands on channels: send a test notification."""

import uuid

from toban.core.actor import Actor
from toban.core.errors import NotFoundError
from toban.core.input_limits import repair_surrogates
from toban.core.ports import Clock
from toban.notify.service import NotificationService
from toban.notify.system_notices import channel_test_notification
from toban.state.audit_log import AuditEntry


class ChannelCommands:
    """Sends test notifications; each and its row of the audit log are one transaction."""

    def __init__(self, notifications: NotificationService, clock: Clock) -> None:
        self._notifications = notifications
        self._clock = clock

    async def send_test(self, channel: str, actor: Actor) -> str:
        """Queue a test notification, return its key. Raises ``NotFoundError``, ``StateError``."""
        channels = self._notifications.workers
        if channel not in channels:
            known = f"configured are {', '.join(channels)}" if channels else "no channel is configured"
            raise NotFoundError(f"unknown channel {repair_surrogates(channel)[:100]!r}: {known}")
        now = self._clock.now()
        message = channel_test_notification(self._notifications.policy, channel, uuid.uuid4().hex[:12], now)
        facts = {"channel": channel, "key": message.key}
        await self._notifications.send_notice(message, AuditEntry(now, actor, "sent a test notification", facts))
        return message.key
