"""The content of a report, as plain values: how it looks is decided where it is rendered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from toban.core.impact import Impact
from toban.incidents.duty_report import PersonDuty
from toban.reports.period import Span


class Audience(StrEnum):
    """Whom a report is for."""

    OWNER = "owner"
    """Whether customers could buy, what was sold, what it cost when they could not."""
    ENGINEER = "engineer"
    """That, and how the shop and toban worked."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A sum of the span, of the span before, and of a year ago; None where it is not known."""

    value: float | None
    before: float | None = None
    year_before: float | None = None

    def change(self, other: float | None) -> float | None:
        """Return the relative change against another span: 0.1 is 10 % more."""
        return None if self.value is None or not other else self.value / other - 1


@dataclass(frozen=True, slots=True)
class Slot:
    """A day of the span, or an hour where the span is one day: its orders, and its revenue by currency."""

    begins: datetime
    orders: float | None
    revenue: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class SalesSection:
    """What was sold; a ``slot`` is an hour or a day."""

    orders: Comparison
    revenue: Mapping[str, Comparison]
    conversion: Comparison
    """The share of checkouts with a payment that became orders; None where failed payments are not counted."""
    slots: Sequence[Slot]

    @property
    def unknown(self) -> int:
        """How many of the slots that have begun are not known."""
        last = max((place for place, it in enumerate(self.slots) if it.orders is not None), default=-1)
        return sum(it.orders is None for it in self.slots[: last + 1])

    @property
    def best(self) -> Slot | None:
        """The slot with the most orders."""
        return max((it for it in self.slots if it.orders), key=lambda it: it.orders or 0.0, default=None)

    @property
    def worst(self) -> Slot | None:
        """The slot with the fewest orders, of those that are known."""
        return min((it for it in self.slots if it.orders is not None), key=lambda it: it.orders or 0.0, default=None)


@dataclass(frozen=True, slots=True)
class Availability:
    """Minutes in which the shop's own check failed, in which it was looked at, and that the span has."""

    minutes_down: float
    minutes_seen: float
    minutes: float

    @property
    def share(self) -> float | None:
        """The share of the observed time in which customers could buy."""
        return 1 - self.minutes_down / self.minutes_seen if self.minutes_seen else None

    @property
    def minutes_blind(self) -> float:
        """Minutes in which nobody looked."""
        return max(0.0, self.minutes - self.minutes_seen)


@dataclass(frozen=True, slots=True)
class IncidentLine:
    """An incident of the span."""

    id: int
    title: str
    priority: str
    starts: datetime
    resolved: datetime | None
    to_acknowledge: timedelta | None
    to_resolve: timedelta | None
    impact: Impact | None
    open_items: int
    summary: str = ""


@dataclass(frozen=True, slots=True)
class PaymentLine:
    """Failed payment attempts by one method, and their most frequent error."""

    method: str
    failed: float
    error: str
    before: float | None


@dataclass(frozen=True, slots=True)
class SpeedLine:
    """How long an operation of the shop took: half of its requests, and 95 of 100, in seconds."""

    operation: str
    requests: float
    median: float
    p95: float
    p95_before: float | None


@dataclass(frozen=True, slots=True)
class MaintenanceLine:
    """The runs of a maintenance task."""

    task: str
    runs: int
    failed: int
    last: str
    findings: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class ServiceLevelLine:
    """
    A service level: its target and what was reached, as shares, over its own period until now.

    ``left`` is the share of its error budget that is left, negative when it is overspent. What is not known is None.
    """

    name: str
    target: float
    reached: float | None
    outside_planned: float | None
    left: float | None


@dataclass(frozen=True, slots=True)
class BackupLine:
    """
    What the last restore drill has found: whether it proved a backup, and what it measured.

    ``lost`` is how much would have been lost (RPO), ``restored`` how long the restore took (RTO).
    """

    at: datetime
    is_proved: bool
    text: str
    lost: timedelta | None
    restored: timedelta | None


@dataclass(frozen=True, slots=True)
class DeployLine:
    """A deploy."""

    at: datetime
    version: str
    by: str


@dataclass(frozen=True, slots=True)
class ForecastLine:
    """
    When something is full, at the pace of the last weeks.

    ``share`` is how full it is; ``earliest`` and ``latest`` are how uncertain ``full`` is, None where it may never be.
    """

    resource: str
    share: float
    full: datetime | None
    earliest: datetime | None
    latest: datetime | None
    season: float | None = None
    """How much faster it grew a year ago in the weeks that come now; None where that is not known."""


@dataclass(frozen=True, slots=True)
class Report:
    """A report; a section that could not be read is named in ``missing`` with the reason."""

    shop: str
    span: Span
    audience: Audience
    made: datetime
    address: str
    availability: Availability | None = None
    sales: SalesSection | None = None
    incidents: Sequence[IncidentLine] = ()
    levels: Sequence[ServiceLevelLine] = ()
    payments: Sequence[PaymentLine] = ()
    speed: Sequence[SpeedLine] = ()
    backup: BackupLine | None = None
    maintenance: Sequence[MaintenanceLine] = ()
    deploys: Sequence[DeployLine] = ()
    forecasts: Sequence[ForecastLine] = ()
    duty: Sequence[PersonDuty] = ()
    missing: Mapping[str, str] = field(default_factory=dict)

    @property
    def lost(self) -> Impact | None:
        """What the incidents of the span cost together, in the currency of the largest."""
        known = [it.impact for it in self.incidents if it.impact]
        if not known:
            return None
        largest = max(known, key=lambda it: it.missing)
        same = [it for it in known if it.currency == largest.currency]
        return Impact(
            largest.currency,
            sum(it.missing for it in same),
            sum(it.least for it in same),
            sum(it.most for it in same),
            0.0,
            sum(it.orders for it in same),
            self.made,
        )
