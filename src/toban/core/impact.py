"""What an outage costs the shop."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self


@dataclass(frozen=True, slots=True)
class Impact:
    """
    Revenue that is missing against the same hours of the last weeks, in one currency, and the orders.

    ``least`` and ``most`` are how uncertain it is; ``per_minute`` is what it costs now; ``at`` when it was estimated.
    """

    currency: str
    missing: float
    least: float
    most: float
    per_minute: float
    orders: float
    at: datetime

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "currency": self.currency,
            "missing": self.missing,
            "least": self.least,
            "most": self.most,
            "per_minute": self.per_minute,
            "orders": self.orders,
            "at": self.at.isoformat(),
        }

    @classmethod
    def from_dict(cls, body: Mapping[str, Any]) -> Self:
        """Return it from what ``as_dict`` returned."""
        return cls(**{**body, "at": datetime.fromisoformat(body["at"])})
