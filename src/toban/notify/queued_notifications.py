"""Messages as they wait in the outbox: read, put elsewhere, put apart for one recipient, and marked by a try."""

import hashlib
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection

from toban.notify import repository
from toban.notify.channel import Channel, DeliveryAttempt
from toban.notify.notification import APART, Notification
from toban.notify.rendering import catalogue
from toban.state import outbox
from toban.state.outbox import OutboxMessage


def queue_of(channel: str) -> str:
    """Return the spool's lane of a channel."""
    return f"channel:{channel}"


def log_fields(channel: str, notification: Notification, number: int) -> dict[str, object]:
    """Return what the log says of a message at one try: nothing that somebody wrote."""
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
    """Return the recipients of a channel for whom an older message of this thread waits."""
    names, lane = channel.recipients, queue_of(channel.name)
    return tuple(name for name in names if outbox.is_pending(connection, lane, _line(notification, name)))


def enqueue_for_recipient(
    connection: Connection, channel: str, notification: Notification, recipient: str, now: datetime
) -> None:
    """Put a message on a channel's lane for one recipient alone: it waits for nobody, and nobody for it."""
    key = recipient_key(notification, recipient)
    copy = replace(notification, only=(recipient,), key=key, unsure=0)
    outbox.enqueue(connection, queue_of(channel), key, copy.as_dict(), now, _line(notification, recipient))


def record_attempt(
    connection: Connection, parcel: OutboxMessage, channel: Channel, attempt: DeliveryAttempt, unsure: int
) -> None:
    """Write down what the next try must know: who was refused for good, and how often it may have arrived."""
    notification = parse_notification(parcel)
    only = notification.only
    lost = {name for name, refusal in attempt.refused.items() if refusal.permanent}
    if lost:
        only = tuple(name for name in only or channel.recipients if name not in lost)
    if (unsure, only) != (notification.unsure, notification.only):
        outbox.update_body(connection, parcel, replace(notification, unsure=unsure, only=only).as_dict())


def recipient_key(notification: Notification, *recipients: str) -> str:
    """Return the key of a copy for some of the recipients; it does not show who they are."""
    return f"{notification.message}{APART}{_mark(*recipients)}"


def _line(notification: Notification, recipient: str) -> str:
    """Return the line on which messages of a thread wait for one recipient alone."""
    return f"{notification.thread}{APART}{_mark(recipient)}"


def _mark(*names: str) -> str:
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:12]


def parse_notification(parcel: OutboxMessage) -> Notification:
    """Return the message in a parcel. Raises ``UnreadableParcelError``."""
    try:
        return Notification.from_dict(parcel.body)
    except Exception as error:
        raise outbox.UnreadableMessageError(f"{type(error).__name__}: {error}") from error


def reroute(connection: Connection, parcel: OutboxMessage, channel: str, to: str, why: str, now: datetime) -> bool:
    """
    Put a message on another channel's lane too, with a word why; return whether it was put there now.

    That is done once, and never with one that came from elsewhere itself. Raises ``UnreadableParcelError``.
    """
    told = parse_notification(parcel)
    if told.receiver != channel or not repository.claim_reroute(connection, parcel.key, now):
        return False
    say = catalogue(told.language)["rerouted"].format(channel=channel, why=why)
    copy = replace(told, lines=(*told.lines, say), key=f"{told.key}{APART}{to}", only=(), unsure=0)
    outbox.enqueue(connection, queue_of(to), copy.key, copy.as_dict(), now, told.thread)
    return True
