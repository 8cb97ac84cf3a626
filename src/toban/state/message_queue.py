"""The queue of messages to channels, as packages use it that send some."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from sqlalchemy import Connection

from toban.core.notification import Notification


class MessageQueue(Protocol):
    """Sends messages to channels."""

    def enqueue_messages(self, connection: Connection, messages: Sequence[Notification], now: datetime) -> None:
        """Put messages in the outbox, in the transaction of what they follow from."""
        ...

    def withdraw_messages(self, connection: Connection, thread: str) -> int:
        """Remove the calls of a thread that no attempt was made to send; return how many."""
        ...

    def send_from_memory(self, messages: Sequence[Notification]) -> None:
        """Send messages while state is unavailable."""
        ...

    def wake_channels(self) -> None:
        """Let the channels look for new messages."""
        ...
