"""Business events that anybody pushes: what is accepted is counted durably, and once."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Any, Final, Literal

import orjson
from pydantic import AliasChoices, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from sqlalchemy import Connection

from toban.core.config_types import readable_error
from toban.core.errors import TobanError
from toban.core.input_limits import Timestamp
from toban.core.item_isolation import NOT_ISOLATED, ItemFailure, ItemIsolation
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock, PaymentDeclines
from toban.ingest import idempotency_keys
from toban.ingest.label_values import safe_label
from toban.ingest.metric_families import BODIES, BYTES, ITEMS, REPAIRED
from toban.ingest.utf8_repair import repair_at_once, repaired_json
from toban.instruments import business_metrics
from toban.instruments import metric_families as vocabulary
from toban.instruments.business_metrics import BusinessMetrics
from toban.instruments.cardinality import CardinalityLimits
from toban.instruments.error_classes import payment_error
from toban.state import durable_counters
from toban.state.database import State

BOOK: Final = "events"
"""Whose numbers these are."""

FAMILIES: Final = (
    vocabulary.ORDERS_CREATED,
    vocabulary.ORDER_TOTAL,
    vocabulary.REVENUE,
    vocabulary.PAYMENTS_FAILED,
    vocabulary.PRODUCT_VIEWS,
    vocabulary.CUSTOMER_ACTIVITY,
    vocabulary.REBATE_AMOUNT,
    vocabulary.REBATE_CALCULATIONS,
    vocabulary.CAMPAIGN_USAGE,
    vocabulary.CAMPAIGN_DISCOUNT,
)

KEPT: Final = timedelta(days=7)
"""How long a key is known."""

MOST: Final = 10_000
"""Events in one request."""

TOLD: Final = 20
"""Mistakes of one request that are told."""

Name = Annotated[str, Field(min_length=1, max_length=120)]
Amount = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]


class _Event(BaseModel, ABC):
    """What all events have."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, coerce_numbers_to_str=True)

    id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """What tells it from all others: the same id again within a week counts once."""

    @abstractmethod
    def count(self, metrics: BusinessMetrics) -> None:
        """Count it."""


class ProductView(_Event):
    """A product was shown to somebody."""

    type: Literal["product_view"]
    product: Name = Field(validation_alias=AliasChoices("product", "productId"))
    customer: Name | None = Field(None, validation_alias=AliasChoices("customer", "customerId"))

    def count(self, metrics: BusinessMetrics) -> None:
        """Count the view, and that the customer was there."""
        metrics.track_product_view(safe_label(self.product), safe_label(self.customer or ""))


class CustomerActivity(_Event):
    """A customer did something."""

    type: Literal["activity"]
    customer: Name = Field(validation_alias=AliasChoices("customer", "customerId"))
    action: Name

    def count(self, metrics: BusinessMetrics) -> None:
        """Count the action."""
        metrics.track_customer_activity(safe_label(self.customer), safe_label(self.action))


class RebateCalculation(_Event):
    """A customer's rebate of a period was calculated."""

    type: Literal["rebate"]
    customer: Name = Field(validation_alias=AliasChoices("customer", "customerId"))
    amount: Amount
    period: Name

    def count(self, metrics: BusinessMetrics) -> None:
        """Note the amount."""
        metrics.track_rebate_calculation(safe_label(self.customer), self.amount, safe_label(self.period))


class CampaignUsage(_Event):
    """An order was given a discount by a campaign, in major units."""

    type: Literal["campaign"]
    campaign: Name = Field(validation_alias=AliasChoices("campaign", "campaignId"))
    discount: Amount

    def count(self, metrics: BusinessMetrics) -> None:
        """Count the usage."""
        metrics.track_campaign_usage(safe_label(self.campaign), self.discount)


class OrderEvent(_Event):
    """An order was placed in a system that is not Vendure; its total is in major units."""

    type: Literal["order"]
    total: Amount
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    channel: Name = business_metrics.DEFAULT
    status: Name = "PaymentSettled"
    customer_type: Name = Field(
        business_metrics.GENERAL, validation_alias=AliasChoices("customer_type", "customerType")
    )

    def count(self, metrics: BusinessMetrics) -> None:
        """Count the order."""
        told = (safe_label(text) for text in (self.status, self.currency, self.channel, self.customer_type))
        metrics.track_order(business_metrics.Order(self.total, *told))


class PaymentFailed(_Event):
    """A provider says that a payment failed: its order's code, the method, and the provider's words."""

    type: Literal["payment_failed"]
    order: Name
    method: Name
    error: Annotated[str, Field(max_length=1000)] = ""
    at: Timestamp | None = None
    """When it failed; now, if it isn't said."""

    def count(self, metrics: BusinessMetrics) -> None:
        """Count the attempt."""
        metrics.track_failed_payment(safe_label(self.method), payment_error("Declined", self.error))


Event = ProductView | CustomerActivity | RebateCalculation | CampaignUsage | OrderEvent | PaymentFailed
_ONE: Final[TypeAdapter[Event]] = TypeAdapter(Annotated[Event, Field(discriminator="type")])


@dataclass(frozen=True, slots=True)
class EventError:
    """What is wrong with an event: in which line (or at which place of the array), and in which field."""

    line: int
    field: str
    message: str


class EventsError(TobanError):
    """A request holds something that is no event: nothing of it is counted."""

    def __init__(self, mistakes: Sequence[EventError]) -> None:
        first = mistakes[0]
        super().__init__(f"line {first.line}: {first.field}: {first.message}" if first.field else first.message)
        self.mistakes = mistakes


class BusinessEventReceiver:
    """Counts events: as rows in `state`, in the transaction that remembers their keys."""

    def __init__(
        self, state: State, clock: Clock, meters: MetricRegistry, declines: PaymentDeclines | None = None
    ) -> None:
        self._state = state
        self._clock = clock
        self._meters = meters
        self._declines = declines

    async def accept(self, body: bytes, key: str = "") -> tuple[int, int]:
        """
        Count the events of a request; return how many are new, and how many were known already.

        ``key`` stands for the whole request. When this returns they survive a crash. Raises ``EventsError`` when there
        is a mistake anywhere, ``StateError`` when they can't be kept just now; then nothing is counted.
        """
        try:
            events, repaired = parse_events(body)
        except EventsError:
            self._count("refused")
            raise
        if repaired:
            self._meters.add(REPAIRED, repaired, signal="events")
        now = self._clock.now()
        told = [event for event in events if isinstance(event, PaymentFailed) and self._declines]
        for one in told:
            # Before all else: told twice, it counts once.
            await self._declines.record(one.order, one.method, one.error, one.at or now)  # type: ignore[union-attr]  # there is one, or nothing is told
        counted = [event for event in events if event not in told]
        request = [_digest("request", key)] if key else []

        def work(connection: Connection) -> tuple[int, MetricRegistry, Sequence[ItemFailure]]:
            idempotency_keys.prune(connection, now - KEPT)
            if idempotency_keys.known_keys(connection, request):
                return 0, MetricRegistry(), ()
            known = idempotency_keys.known_keys(
                connection, {_digest("event", event.id) for event in counted if event.id}
            )
            new = list(_unknown(counted, known))
            isolation = ItemIsolation()
            over = count(connection, new, isolation)
            fresh = {_digest("event", event.id) for event in new if event.id}
            idempotency_keys.record_keys(connection, [*request, *fresh], now)
            return len(new), over, isolation.failures

        many, over, failures = await self._state.transaction(work)
        self._state.quarantine.report("events", failures)
        for family, labels, values in over.series():
            self._meters.add(family, values[0], **labels)
        self._count("accepted")
        self._meters.add(ITEMS, many + len(told), signal="events")
        self._meters.add(BYTES, len(body), signal="events")
        return many + len(told), len(counted) - many

    def _count(self, outcome: str) -> None:
        self._meters.add(BODIES, 1, signal="events", outcome=outcome)


def parse_events(body: bytes) -> tuple[list[Event], int]:
    """
    Read one event, an array or a line each; characters that are none are replaced, and counted.

    Raises ``EventsError`` that names every mistake.
    """
    events, mistakes, repaired = [], [], 0
    for line, raw, replaced in _raw(body):
        repaired += replaced
        if isinstance(raw, EventError):
            mistakes.append(raw)
        else:
            try:
                events.append(_ONE.validate_python(raw))
            except ValidationError as error:
                mistakes.extend(_mistakes(line, error))
        if len(mistakes) >= TOLD:
            break
    if mistakes:
        raise EventsError(mistakes[:TOLD])
    if len(events) > MOST:
        raise EventsError([EventError(MOST + 1, "", f"more than {MOST} events: send them in several requests")])
    return events, repaired


def count(connection: Connection, events: Sequence[Event], isolation: ItemIsolation = NOT_ISOLATED) -> MetricRegistry:
    """Add some events to the book; return what was over the budget of a label."""
    meters, over = durable_counters.load(connection, BOOK, FAMILIES), MetricRegistry()
    budgets = CardinalityLimits(over)
    budgets.learn(meters)
    metrics = BusinessMetrics(meters, budgets)
    for event in events:
        with isolation.item("event", event.id or event.type):
            event.count(metrics)
    if events:
        durable_counters.save(connection, BOOK, meters)
    return over


def _json(text: bytes) -> tuple[Any, int]:
    """Return what a text of JSON holds, and how many characters were replaced. Raises ``ValueError``."""
    try:
        return orjson.loads(text), 0
    except ValueError:
        text, replaced = repair_at_once(repaired_json(text))
        if not replaced:
            raise
        return orjson.loads(text), replaced


def _raw(body: bytes) -> Iterator[tuple[int, Any, int]]:
    """Return each event as it stands: in which line or at which place, and how many of its characters were replaced."""
    try:
        found, replaced = _json(body)
    except ValueError:
        pass  # a line each
    else:
        each = enumerate(found, 1) if isinstance(found, list) else [(1, found)]
        yield from ((place, one, replaced if place == 1 else 0) for place, one in each)
        return
    for line, text in enumerate(body.splitlines(), 1):
        if text.strip():
            try:
                yield line, *_json(text)
            except ValueError as error:
                yield line, EventError(line, "", f"line {line} is not JSON: {error}"), 0


def _mistakes(line: int, error: ValidationError) -> Iterator[EventError]:
    for details in error.errors(include_url=False, include_input=False):
        sort = next((part for part in details["loc"][:1] if isinstance(part, str)), "")
        field = ".".join(str(part) for part in details["loc"][1:]) or ("type" if "tag" in details["type"] else sort)
        yield EventError(line, field, readable_error(details))


def _unknown(events: Sequence[Event], known: set[str]) -> Iterator[Event]:
    """Return events whose id is not known, each id once."""
    seen = set(known)
    for event in events:
        if event.id:
            digest = _digest("event", event.id)
            if digest in seen:
                continue
            seen.add(digest)
        yield event


def _digest(sort: str, key: str) -> str:
    """Return a key as it is kept: it may be anything, an address too."""
    return hashlib.blake2b(key.encode("utf-8", "replace"), digest_size=16, person=sort.encode()).hexdigest()
