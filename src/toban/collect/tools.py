"""
What collectors may use.

A collector names what it uses by the annotation of the ``tools`` that its `collect` or `open` is given: one of these
protocols, or a protocol of its own that inherits several. The type checker refuses everything else.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import httpx2

from toban.core.errors import CollectError
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock
from toban.shop.connections import ShopConnections
from toban.shop.settings import ShopSettings
from toban.state.database import State

if TYPE_CHECKING:
    from toban.shop.database import ShopDatabase
    from toban.shop.redis import ShopRedis


class HasClock(Protocol):
    """Tools with a clock."""

    @property
    def clock(self) -> Clock:
        """The clock."""
        ...


class HasHttp(HasClock, Protocol):
    """Tools with an HTTP client, and a clock."""

    @property
    def http(self) -> httpx2.AsyncClient:
        """The one HTTP client: it follows no redirects, and its User-Agent says toban."""
        ...


class HasMeters(Protocol):
    """Tools with toban's own metrics."""

    @property
    def meters(self) -> MetricRegistry:
        """Toban's own metrics."""
        ...


class HasPushed(Protocol):
    """Tools with the metrics of the shop's telemetry."""

    @property
    def pushed(self) -> MetricRegistry:
        """The metrics that were derived from the shop's telemetry."""
        ...


class HasState(Protocol):
    """Tools with the transactional state."""

    @property
    def state(self) -> State | None:
        """The state; None in `toban check`, which stores nothing."""
        ...


class HasShopDatabase(Protocol):
    """Tools with the shop's database."""

    @property
    def shop_database(self) -> "ShopDatabase":
        """The shop's database. Raises ``CollectError`` where `shop.database` is not set."""
        ...


class HasShopRedis(Protocol):
    """Tools with the shop's Redis."""

    @property
    def shop_redis(self) -> "ShopRedis":
        """The shop's Redis. Raises ``CollectError`` where `shop.redis` is not set."""
        ...


class HasShopSettings(Protocol):
    """Tools with the shop's settings."""

    @property
    def shop_settings(self) -> ShopSettings:
        """The section `shop` of the settings."""
        ...


@dataclass(frozen=True, slots=True)
class CollectorTools:
    """All that any collector may use, opened and closed by the daemon; see the protocols."""

    http: httpx2.AsyncClient
    clock: Clock
    meters: MetricRegistry
    shop: ShopConnections
    pushed: MetricRegistry = field(default_factory=MetricRegistry)
    state: State | None = None

    @property
    def shop_database(self) -> "ShopDatabase":
        """The shop's database. Raises ``CollectError`` where it is not configured."""
        if self.shop.database is None:
            raise CollectError("shop.database is not set")
        return self.shop.database

    @property
    def shop_redis(self) -> "ShopRedis":
        """The shop's Redis. Raises ``CollectError`` where it is not configured."""
        if self.shop.redis is None:
            raise CollectError("shop.redis is not set")
        return self.shop.redis

    @property
    def shop_settings(self) -> ShopSettings:
        """The section `shop` of the settings."""
        return self.shop.settings
