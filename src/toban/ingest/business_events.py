"""Business events that are pushed: accepted ones are counted durably, and once."""

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

COUNTER_OWNER: Final = "events"
"""The owner of the persistent counters."""

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

KEY_RETENTION: Final = timedelta(days=7)
"""How long idempotency keys are stored."""

MAX_EVENTS: Final = 10_000
"""Events in one request."""

MAX_ERRORS: Final = 20
"""Errors of one request that are reported."""

Name = Annotated[str, Field(min_length=1, max_length=120)]
Amount = Annotated[float, Field(ge=0, le=1e15, allow_inf_nan=False)]


class _Event(BaseModel, ABC):
    """The fields of all events."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, coerce_numbers_to_str=True)

    id: Annotated[str, Field(min_length=1, max_length=200)] | None = None
    """Identifies the event: the same id within a week is counted once."""

    @abstractmethod
    def count(self, metrics: BusinessMetrics) -> None:
        """Count the event."""


class ProductView(_Event):
    """A product was viewed."""

    type: Literal["product_view"]
    product: Name = Field(validation_alias=AliasChoices("product", "productId"))
    customer: Name | None = Field(None, validation_alias=AliasChoices("customer", "customerId"))

    def count(self, metrics: BusinessMetrics) -> None:
        """Count the view, and the customer's activity."""
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
    """A customer's rebate for a period was calculated."""

    type: Literal["rebate"]
    customer: Name = Field(validation_alias=AliasChoices("customer", "customerId"))
    amount: Amount
    period: Name

    def count(self, metrics: BusinessMetrics) -> None:
        """Record the amount."""
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
        labels = (safe_label(text) for text in (self.status, self.currency, self.channel, self.customer_type))
        metrics.track_order(business_metrics.Order(self.total, *labels))


class PaymentFailed(_Event):
    """A provider reports that a payment failed: the order's code, the method, and the provider's error."""

    type: Literal["payment_failed"]
    order: Name
    method: Name
    error: Annotated[str, Field(max_length=1000)] = ""
    at: Timestamp | None = None
    """When it failed; now by default."""

    def count(self, metrics: BusinessMetrics) -> None:
        """Count the failed payment."""
        metrics.track_failed_payment(safe_label(self.method), payment_error("Declined", self.error))


Event = ProductView | CustomerActivity | RebateCalculation | CampaignUsage | OrderEvent | PaymentFailed
_EVENT: Final[TypeAdapter[Event]] = TypeAdapter(Annotated[Event, Field(discriminator="type")])


@dataclass(frozen=True, slots=True)
class EventError:
    """An error of an event: its line (or index in the array), its field, and a message."""

    line: int
    field: str
    message: str


class EventsError(TobanError):
    """A request has invalid events: none of its events is counted."""

    def __init__(self, errors: Sequence[EventError]) -> None:
        first = errors[0]
        super().__init__(f"line {first.line}: {first.field}: {first.message}" if first.field else first.message)
        self.errors = errors


class BusinessEventReceiver:
    """Counts events as persistent counters, in the transaction that stores their idempotency keys."""

    def __init__(
        self, state: State, clock: Clock, meters: MetricRegistry, declines: PaymentDeclines | None = None
    ) -> None:
        self._state = state
        self._clock = clock
        self._meters = meters
        self._declines = declines

    async def accept(self, body: bytes, key: str = "") -> tuple[int, int]:
        """
        Count the events of a request durably; return how many are new, and how many are duplicates.

        ``key`` is the idempotency key of the whole request. Raises ``EventsError`` when an event is invalid,
        ``StateError`` when they can't be stored at the moment; then none is counted.
        """
        try:
            events, repaired = parse_events(body)
        except EventsError:
            self._count("rejected")
            raise
        if repaired:
            self._meters.add(REPAIRED, repaired, signal="events")
        now = self._clock.now()
        declined = [event for event in events if isinstance(event, PaymentFailed) and self._declines]
        for one in declined:
            # First: a decline that is recorded twice is counted once.
            await self._declines.record(one.order, one.method, one.error, one.at or now)  # type: ignore[union-attr]  # without declines the list is empty
        counted = [event for event in events if event not in declined]
        request = [_digest("request", key)] if key else []

        def store(connection: Connection) -> tuple[int, MetricRegistry, Sequence[ItemFailure]]:
            idempotency_keys.prune(connection, now - KEY_RETENTION)
            if idempotency_keys.known_keys(connection, request):
                return 0, MetricRegistry(), ()
            known = idempotency_keys.known_keys(
                connection, {_digest("event", event.id) for event in counted if event.id}
            )
            new = list(_without_duplicates(counted, known))
            isolation = ItemIsolation()
            overflow = count(connection, new, isolation)
            fresh = {_digest("event", event.id) for event in new if event.id}
            idempotency_keys.record_keys(connection, [*request, *fresh], now)
            return len(new), overflow, isolation.failures

        accepted, overflow, failures = await self._state.transaction(store)
        self._state.quarantine.report("events", failures)
        for family, labels, values in overflow.series():
            self._meters.add(family, values[0], **labels)
        self._count("accepted")
        self._meters.add(ITEMS, accepted + len(declined), signal="events")
        self._meters.add(BYTES, len(body), signal="events")
        return accepted + len(declined), len(counted) - accepted

    def _count(self, outcome: str) -> None:
        self._meters.add(BODIES, 1, signal="events", outcome=outcome)


def parse_events(body: bytes) -> tuple[list[Event], int]:
    """
    Parse one event, an array, or one event per line; return the events and how many characters were repaired.

    Raises ``EventsError`` with every error.
    """
    events, errors, repaired = [], [], 0
    for line, raw, replaced in _parsed_lines(body):
        repaired += replaced
        if isinstance(raw, EventError):
            errors.append(raw)
        else:
            try:
                events.append(_EVENT.validate_python(raw))
            except ValidationError as error:
                errors.extend(_errors(line, error))
        if len(errors) >= MAX_ERRORS:
            break
    if errors:
        raise EventsError(errors[:MAX_ERRORS])
    if len(events) > MAX_EVENTS:
        raise EventsError(
            [EventError(MAX_EVENTS + 1, "", f"more than {MAX_EVENTS} events: send them in several requests")]
        )
    return events, repaired


def count(connection: Connection, events: Sequence[Event], isolation: ItemIsolation = NOT_ISOLATED) -> MetricRegistry:
    """Add events to the persistent counters; return what exceeded a cardinality limit."""
    meters, overflow = durable_counters.load(connection, COUNTER_OWNER, FAMILIES), MetricRegistry()
    budgets = CardinalityLimits(overflow)
    budgets.learn(meters)
    metrics = BusinessMetrics(meters, budgets)
    for event in events:
        with isolation.item("event", event.id or event.type):
            event.count(metrics)
    if events:
        durable_counters.save(connection, COUNTER_OWNER, meters)
    return overflow


def _json(text: bytes) -> tuple[Any, int]:
    """Parse JSON; return the value and how many characters were repaired. Raises ``ValueError``."""
    try:
        return orjson.loads(text), 0
    except ValueError:
        text, replaced = repair_at_once(repaired_json(text))
        if not replaced:
            raise
        return orjson.loads(text), replaced


def _parsed_lines(body: bytes) -> Iterator[tuple[int, Any, int]]:
    """Return each event as JSON, with its line or index and how many characters of it were repaired."""
    try:
        content, replaced = _json(body)
    except ValueError:
        pass  # one event per line
    else:
        events = enumerate(content, 1) if isinstance(content, list) else [(1, content)]
        yield from ((index, event, replaced if index == 1 else 0) for index, event in events)
        return
    for line, text in enumerate(body.splitlines(), 1):
        if text.strip():
            try:
                yield line, *_json(text)
            except ValueError as error:
                yield line, EventError(line, "", f"line {line} is not JSON: {error}"), 0


def _errors(line: int, error: ValidationError) -> Iterator[EventError]:
    for details in error.errors(include_url=False, include_input=False):
        kind = next((part for part in details["loc"][:1] if isinstance(part, str)), "")
        field = ".".join(str(part) for part in details["loc"][1:]) or ("type" if "tag" in details["type"] else kind)
        yield EventError(line, field, readable_error(details))


def _without_duplicates(events: Sequence[Event], known: set[str]) -> Iterator[Event]:
    """Return events whose id is not known, each id once."""
    seen = set(known)
    for event in events:
        if event.id:
            digest = _digest("event", event.id)
            if digest in seen:
                continue
            seen.add(digest)
        yield event


def _digest(kind: str, key: str) -> str:
    """Return a key as it is stored: hashed, since it may be personal data."""
    return hashlib.blake2b(key.encode("utf-8", "replace"), digest_size=16, person=kind.encode()).hexdigest()
