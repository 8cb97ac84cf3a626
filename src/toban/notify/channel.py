"""A channel delivers notifications to people in one way."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar, Final

import httpx2
from pydantic import SecretStr

from toban.core.config_types import Duration
from toban.core.connection_check import ConnectionCheck
from toban.core.notification import Notification
from toban.core.plugins import Plugin, PluginRegistry
from toban.core.ports import Clock
from toban.notify.delivery_attempt import DeliveryAttempt
from toban.notify.http_delivery import HttpDelivery, secret_parts

Handle = Mapping[str, Any]
"""What a channel remembers of a notification group, as plain data: its first message's id, the service's key."""


@dataclass(frozen=True, slots=True)
class ChannelTools:
    """What every channel may use."""

    http: httpx2.AsyncClient
    """The one HTTP client: it follows no redirects and identifies toban."""

    clock: Clock

    address: str = ""
    """The URL of toban's pages; empty where people can't reach them."""

    shop: str = ""
    """The name of the shop, with its environment."""

    attempt: DeliveryAttempt = field(default_factory=DeliveryAttempt)
    """This attempt alone."""


SecretFile = Callable[[str, SecretStr], str]
"""Writes a secret into a file of its own, by its name, and returns where it will be."""


@dataclass(frozen=True, slots=True)
class AlertmanagerReceiver:
    """
    The same receiver in Alertmanager: its list (`slack_configs`), its settings, and what it can't do there.

    https://prometheus.io/docs/alerting/latest/configuration/#receiver-integration-settings
    """

    sort: str
    settings: Mapping[str, Any]
    lost: str = ""


class Channel(Plugin, ABC):
    """Delivers notifications in one way; between two messages it keeps only what its handle says."""

    calls_again: ClassVar[bool] = False
    """Whether the service calls people until somebody answers: a reminder would be a second incident there."""

    proves_delivery: ClassVar[bool] = True
    """Whether the service's response says that it has the message, and not just that it will try."""

    timeout: Duration = timedelta(seconds=10)
    """How long the receiver may take to respond."""

    pages: bool = False
    """Whether it wakes somebody, like an app that rings at night: P1 alerts go there whatever their rule says."""

    @property
    def is_idempotent(self) -> bool:
        """Whether the receiver detects a repeated message: it may be sent until it is accepted."""
        return False

    @property
    def max_duration(self) -> timedelta:
        """How long one attempt may take in all."""
        return self.timeout

    @property
    def recipients(self) -> tuple[str, ...]:
        """The recipients of its messages, where the receiver may reject some of them alone."""
        return ()

    @property
    def answer_hook(self) -> str:
        """The path to which its service sends what people answer; empty where it sends nothing."""
        return ""

    @abstractmethod
    async def send(self, notification: Notification, handle: Handle, tools: ChannelTools) -> Handle:
        """
        Deliver a message and return the handle of its group.

        ``handle`` is what the last message of this group returned, empty before the first. The same message may come
        twice (the same ``key``), and is then made to look like one where the receiver allows it. Returning says that
        it is delivered, to the ``accepted`` of the attempt where there are several recipients.
        Raises ``DeliveryError``.
        """

    @abstractmethod
    async def check_connection(self, tools: ChannelTools) -> ConnectionCheck:
        """Check it as far as that goes without sending anything, for `toban check`. Raises nothing of its own."""

    def receiver(self, secret_file: SecretFile) -> AlertmanagerReceiver | None:
        """Return how a real Alertmanager would reach the same people; nothing, where it can't."""
        return None

    def secrets(self) -> list[str]:
        """Return what no error or log line may contain: the values of its secret settings, and parts of secret URLs."""
        values = [value.get_secret_value() for _, value in self if isinstance(value, SecretStr)]
        return [part for value in values for part in (secret_parts(value) if "://" in value else [value])]

    def http(self, tools: ChannelTools, *secrets: str) -> HttpDelivery:
        """Return what posts its messages; ``secrets`` are those that its secret settings don't name."""
        return HttpDelivery(self.name, tools.http, tools.clock, tools.attempt, [*self.secrets(), *secrets])


CHANNELS: Final = PluginRegistry("toban.notify.channels", Channel, "channel")  # type: ignore[type-abstract]  # the root of the family is never made itself
