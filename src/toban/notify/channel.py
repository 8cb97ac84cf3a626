"""What reaches people in one way."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar, Final

import httpx2
from pydantic import SecretStr

from toban.core.config_types import Duration
from toban.core.plugins import Plugin, PluginRegistry
from toban.core.ports import Clock
from toban.notify.notification import Notification

Handle = Mapping[str, Any]
"""What a channel must remember of a thread, as plain data: the message that it began with, its key over there."""


@dataclass(frozen=True, slots=True)
class RecipientRefusal:
    """That a recipient was refused, in the receiver's words; ``permanent``: another try would end the same."""

    message: str
    permanent: bool


@dataclass(slots=True)
class DeliveryAttempt:
    """How far one try of a message came: a channel writes it down as it goes, so that it is known however it ends."""

    unanswered: bool = False
    """Whether the message was handed over whole, and what became of it was not said."""

    accepted: set[str] = field(default_factory=set)
    """Who gets it, where a channel has several recipients."""

    refused: dict[str, RecipientRefusal] = field(default_factory=dict)
    """Who does not."""


@dataclass(frozen=True, slots=True)
class ChannelTools:
    """What every channel is lent."""

    http: httpx2.AsyncClient
    """The one client: it follows no redirects, and says who is asking."""

    clock: Clock

    address: str = ""
    """Where people find toban's pages; nothing where they can't."""

    shop: str = ""
    """What the shop is called, with its environment."""

    attempt: DeliveryAttempt = field(default_factory=DeliveryAttempt)
    """Of this try alone."""


@dataclass(frozen=True, slots=True)
class ConnectionCheck:
    """How far a channel could be proved without sending: whether it failed, and a sentence that says how far."""

    ok: bool
    message: str


Sealed = Callable[[str, SecretStr], str]
"""Puts a secret into a file of its own, by its name, and returns where it will be."""


@dataclass(frozen=True, slots=True)
class AlertmanagerReceiver:
    """
    What Alertmanager calls a channel: the list it stands in (`slack_configs`), its settings, and what is lost.

    https://prometheus.io/docs/alerting/latest/configuration/#receiver-integration-settings
    """

    sort: str
    settings: Mapping[str, Any]
    lost: str = ""


class Channel(Plugin, ABC):
    """Reaches people in one way; it keeps nothing between two messages but what its handle says."""

    pages: ClassVar[bool] = False
    """Whether it wakes somebody: what stops the shop from selling goes there whatever its rule says."""

    timeout: Duration = timedelta(seconds=10)
    """How long the receiver may take to answer."""

    @property
    def is_idempotent(self) -> bool:
        """Whether a message that comes again can be seen to be the same over there: it may be sent until accepted."""
        return False

    @property
    def max_duration(self) -> timedelta:
        """How long one try may take in all."""
        return self.timeout

    @property
    def recipients(self) -> tuple[str, ...]:
        """Who gets its messages, where the receiver may refuse some of them alone."""
        return ()

    @abstractmethod
    async def send(self, notification: Notification, handle: Handle, tools: ChannelTools) -> Handle:
        """
        Deliver a message and return what to remember of its thread.

        ``handle`` is what the last message of this thread returned, empty at its first. The same message may come
        twice (the same ``key``), and is then made to look like one where the receiver allows it. Returning says that
        it is delivered, to `Attempt.accepted` where there are several recipients.
        Raises ``DeliveryError``.
        """

    @abstractmethod
    async def check_connection(self, tools: ChannelTools) -> ConnectionCheck:
        """Try it as far as that goes without sending anything, for `toban check`. Raises nothing of its own."""

    def receiver(self, sealed: Sealed) -> AlertmanagerReceiver | None:
        """Return how a real Alertmanager would reach the same people; nothing, where it can't."""
        return None


CHANNELS: Final = PluginRegistry("toban.notify.channels", Channel, "channel")  # type: ignore[type-abstract]  # the root of the family is never made itself
