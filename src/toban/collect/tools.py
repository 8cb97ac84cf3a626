"""What collectors are lent."""

from dataclasses import dataclass, field

import httpx2

from toban.core.metric_registry import Meters
from toban.core.ports import Clock
from toban.shop.connections import Shop
from toban.state.database import State


@dataclass(frozen=True, slots=True)
class Tools:
    """What every collector may use, opened and closed by the daemon."""

    http: httpx2.AsyncClient
    """The one client: it follows no redirects, and says who is asking."""

    clock: Clock

    meters: Meters
    """toban's own numbers."""

    shop: Shop
    """The shop's database and Redis, lent from one budget, and its settings."""

    pushed: Meters = field(default_factory=Meters)
    """The numbers that the shop's telemetry told."""

    state: State | None = None
    """Where what must survive lies; there is none when `toban check` only tries."""
