"""Notifications in the outbox: parsed, rerouted, copied for one recipient, and updated by an attempt."""

import hashlib
from dataclasses import replace
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from toban.core.notification import COPY_SEPARATOR, Notification, NotificationKind
from toban.notify import repository
from toban.notify.channel import Channel
from toban.notify.delivery_attempt import DeliveryAttempt
from toban.notify.texts import texts
from toban.state import outbox
from toban.state.outbox import OutboxMessage

CHANNEL_QUEUES: Final = "channel:"
"""How the names of channels' queues begin."""


def queue_of(channel: str) -> str:
    """Return the name of a channel's queue in the outbox."""
    return f"{CHANNEL_QUEUES}{channel}"


def withdraw(connection: Connection, thread: str) -> int:
    """Remove the calls of a notification group that are not being sent now; return how many."""
    calls = {NotificationKind.FIRING.value, NotificationKind.REMINDER.value}
    found = [it for it in outbox.unclaimed(connection, CHANNEL_QUEUES, thread) if it.body.get("kind") in calls]
    for message in found:
        outbox.drop(connection, message, "answered")
    return len(found)


def log_fields(channel: str, notification: Notification, number: int) -> dict[str, object]:
    """Return the fields of a log line about one attempt, without text that people wrote."""
    alerts = notification.alerts
    return {
        "channel": channel,
        "key": notification.key,
        "kind": notification.kind.value,
        "alert": ",".join(dict.fromkeys(alert.name for alert in alerts)),
        "fingerprint": ",".join(alert.fingerprint for alert in alerts[:10]),
        "severity": notification.severity,
        "attempt": number,
    }


def recipients_behind(connection: Connection, channel: Channel, notification: Notification) -> tuple[str, ...]:
    """Return the recipients of a channel for whom an older message of this group waits."""
    names, queue = channel.recipients, queue_of(channel.name)
    return tuple(
        name for name in names if outbox.is_pending(connection, queue, _recipient_ordering_key(notification, name))
    )


def enqueue_for_recipient(
    connection: Connection, channel: str, notification: Notification, recipient: str, now: datetime
) -> None:
    """Put a message in a channel's queue for one recipient alone: it waits for no other, and no other for it."""
    key = recipient_key(notification, recipient)
    copy = replace(notification, recipients=(recipient,), key=key, unconfirmed=0)
    outbox.enqueue(
        connection, queue_of(channel), key, copy.as_dict(), now, _recipient_ordering_key(notification, recipient)
    )


def record_attempt(
    connection: Connection, queued: OutboxMessage, channel: Channel, attempt: DeliveryAttempt, unconfirmed: int
) -> None:
    """Record what the next attempt must know: who was permanently rejected, and how often it may have arrived."""
    notification = parse_notification(queued)
    recipients = notification.recipients
    lost = {name for name, refusal in attempt.refused.items() if refusal.permanent}
    if lost:
        recipients = tuple(name for name in recipients or channel.recipients if name not in lost)
    if (unconfirmed, recipients) != (notification.unconfirmed, notification.recipients):
        outbox.update_body(
            connection, queued, replace(notification, unconfirmed=unconfirmed, recipients=recipients).as_dict()
        )


def recipient_key(notification: Notification, *recipients: str) -> str:
    """Return the key of a copy for some of the recipients; it does not reveal who they are."""
    return f"{notification.message}{COPY_SEPARATOR}{_mark(*recipients)}"


def _recipient_ordering_key(notification: Notification, recipient: str) -> str:
    """Return the ordering key of the messages of a group for one recipient alone."""
    return f"{notification.group_id}{COPY_SEPARATOR}{_mark(recipient)}"


def _mark(*names: str) -> str:
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:12]


def parse_notification(queued: OutboxMessage) -> Notification:
    """Return the notification in an outbox message. Raises ``UnreadableMessageError``."""
    try:
        return Notification.from_dict(queued.body)
    except Exception as error:
        raise outbox.UnreadableMessageError(f"{type(error).__name__}: {error}") from error


def reroute(connection: Connection, queued: OutboxMessage, channel: str, to: str, why: str, now: datetime) -> bool:
    """
    Put a message in another channel's queue too, with the reason; return whether it was put there now.

    That is done once, and never with a message that was rerouted itself. Raises ``UnreadableMessageError``.
    """
    notification = parse_notification(queued)
    if notification.receiver != channel or not repository.claim_reroute(connection, queued.key, now):
        return False
    say = texts(notification.language)["rerouted"].format(channel=channel, why=why)
    copy = replace(
        notification,
        lines=(*notification.lines, say),
        key=f"{notification.key}{COPY_SEPARATOR}{to}",
        recipients=(),
        unconfirmed=0,
    )
    outbox.enqueue(connection, queue_of(to), copy.key, copy.as_dict(), now, notification.group_id)
    return True
