"""What collectors are lent."""

from dataclasses import dataclass, field

import httpx2

from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock
from toban.shop.connections import ShopConnections
from toban.state.database import State


@dataclass(frozen=True, slots=True)
class CollectorTools:
    """What every collector may use, opened and closed by the daemon."""

    http: httpx2.AsyncClient
    """The one client: it follows no redirects, and says who is asking."""

    clock: Clock

    meters: MetricRegistry
    """toban's own numbers."""

    shop: ShopConnections
    """The shop's database and Redis, lent from one budget, and its settings."""

    pushed: MetricRegistry = field(default_factory=MetricRegistry)
    """The numbers that the shop's telemetry told."""

    state: State | None = None
    """Where what must survive lies; there is none when `toban check` only tries."""
