"""Business events are counted durably and once, on SQLite and on PostgreSQL alike."""

import asyncio
import re
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from tests.fakes import FakeClock, sample_values
from toban.collect.collectors.events import Events as Collector
from toban.core.metric_registry import MetricRegistry
from toban.ingest.business_events import KEY_RETENTION, BusinessEventReceiver, EventsError, parse_events
from toban.instruments.cardinality import LIMITS, OVER

VIEW = {"type": "product_view", "product": "7"}


class Declines:
    """Is told of payments that failed."""

    def __init__(self) -> None:
        self.recorded: list[tuple[str, str, str, datetime]] = []

    async def record(self, *facts: object) -> None:
        self.recorded.append(facts)  # type: ignore[arg-type]  # four of them


class Tools:
    """What the collector uses."""

    def __init__(self, state, clock) -> None:
        self.state, self.clock = state, clock


def lines(*events: dict[str, object]) -> bytes:
    return b"\n".join(orjson.dumps(event) for event in events)


async def numbers(state, clock, collector: Collector | None = None) -> dict[str, float | str]:
    scrape = await (collector or Collector(instance="here")).collect(Tools(state, clock))
    own = r'(, )?(instance="here"|job="events")'
    return {re.sub(own, "", key).replace("{, ", "{"): one for key, one in sample_values(scrape.batches).items()}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def events(state, clock) -> BusinessEventReceiver:
    return BusinessEventReceiver(state, clock, MetricRegistry())


async def test_every_type_of_event_is_counted(events, state, clock):
    """
    By the original's names and labels; an array or a line each.
    """
    several = lines(
        {**VIEW, "customer": "3"},
        {"type": "product_view", "productId": 8},
        {"type": "activity", "customer": "3", "action": "login"},
        {"type": "rebate", "customer": "3", "amount": 120.5, "period": "2026-01"},
        {"type": "campaign", "campaign": "spring", "discount": 600},
        {"type": "order", "total": 5000, "currency": "JPY", "channel": "b2b", "customer_type": "gold"},
        {"type": "payment_failed", "order": "A", "method": "stripe", "error": "Your card was declined."},
    )
    assert await events.accept(several) == (7, 0)
    assert await events.accept(orjson.dumps([VIEW, VIEW])) == (2, 0)
    found = await numbers(state, clock)

    assert {key: one for key, one in found.items() if "_bucket" not in key and "_sum" not in key} == {
        'vendure_product_views_total{productId="7"}': 3,
        'vendure_product_views_total{productId="8"}': 1,
        'vendure_customer_activity_total{action="product_view", customerId="3"}': 1,
        'vendure_customer_activity_total{action="login", customerId="3"}': 1,
        'vendure_rebate_amount{customerId="3", period="2026-01"}': 120.5,
        'vendure_rebate_calculations_total{period="2026-01"}': 1,
        'vendure_campaign_usage_total{campaignId="spring"}': 1,
        'vendure_campaign_discount_amount_count{campaignId="spring"}': 1,
        'vendure_orders_created_total{channel="b2b", customerType="gold"}': 1,
        'vendure_order_total_amount_count{status="PaymentSettled"}': 1,
        'vendure_revenue_total{channel="b2b", currency="JPY"}': 5000,
        'vendure_payments_failed_total{error="declined", method="stripe"}': 1,
    }


async def test_duplicate_events_count_once(events, state, clock):
    """
    By an id of its own, within a request and between requests, or by the key of the whole request; for a week.
    """
    named = {**VIEW, "id": "a"}
    assert await events.accept(lines(named, named, VIEW)) == (2, 1)
    assert await events.accept(lines(named)) == (0, 1)
    assert await events.accept(lines(VIEW), "retry-1") == (1, 0)
    assert await events.accept(lines(VIEW), "retry-1") == (0, 1)
    assert await events.accept(lines({**VIEW, "id": "retry-1"})) == (1, 0)
    assert sum(one for key, one in (await numbers(state, clock)).items() if "views" in key) == 4

    clock.advance(KEY_RETENTION.total_seconds() + 1)
    assert await events.accept(lines(named), "retry-1") == (1, 0)


async def test_an_invalid_event_rejects_the_whole_request(events, state, clock):
    """
    Each is told with its line and its field.
    """
    with pytest.raises(EventsError) as caught:
        await events.accept(lines(VIEW) + b"\n\nnot json\n" + lines({"type": "order", "total": -1, "currency": "yen"}))
    assert [(mistake.line, mistake.field) for mistake in caught.value.errors] == [
        (3, ""),
        (4, "total"),
        (4, "currency"),
    ]
    assert await numbers(state, clock) == {}


@pytest.mark.parametrize(
    ("event", "field"),
    [
        ({}, "type"),
        ({"type": "party"}, "type"),
        ({"type": "product_view"}, "product"),
        ({"type": "product_view", "product": ""}, "product"),
        ({"type": "product_view", "product": "x" * 121}, "product"),
        ({"type": "activity", "customer": "1", "action": "a", "more": 1}, "more"),
        ({"type": "rebate", "customer": "1", "amount": "much", "period": "p"}, "amount"),
        ({"type": "campaign", "campaign": "c", "discount": -1}, "discount"),
        ({"type": "payment_failed", "order": "A", "method": "m", "at": "2026-01-01T00:00:00"}, "at"),
    ],
)
def test_an_error_of_an_event_names_its_field(event, field):
    """
    And what it should have been.
    """
    with pytest.raises(EventsError) as caught:
        parse_events(orjson.dumps(event))
    assert [mistake.field for mistake in caught.value.errors] == [field]


@pytest.mark.parametrize("body", [b"5", b'"x"', b"[5]", b"null", b"[[]]", b"\xff"])
def test_invalid_events_are_rejected(body):
    """
    Whatever else JSON may hold, and what is none.
    """
    with pytest.raises(EventsError):
        parse_events(body)


async def test_a_failed_payment_is_recorded_with_its_order(state, clock):
    """
    It is the order that fails or not: the attempt is counted there.
    """
    declines = Declines()
    events = BusinessEventReceiver(state, clock, MetricRegistry(), declines)
    at = "2026-01-01T10:00:00+09:00"
    event = {"type": "payment_failed", "order": "A", "method": "stripe", "error": "no money", "at": at}
    assert await events.accept(lines(event, VIEW)) == (2, 0)

    assert declines.recorded == [("A", "stripe", "no money", datetime(2026, 1, 1, 1, tzinfo=UTC))]
    assert not [key for key in await numbers(state, clock) if "payments" in key]


async def test_cardinality_limits_hold_after_a_restart(state, clock):
    """
    The same products stand for themselves as before.
    """
    limit = LIMITS["productId"]
    meters = MetricRegistry()
    await BusinessEventReceiver(state, clock, meters).accept(
        lines(*({**VIEW, "product": str(each)} for each in range(limit + 5)))
    )
    await BusinessEventReceiver(state, clock, meters).accept(
        lines({**VIEW, "product": "0"}, {**VIEW, "product": "new"})
    )
    found = await numbers(state, clock)

    assert len(found) == limit + 1
    assert found['vendure_product_views_total{productId="other"}'] == 6
    assert found['vendure_product_views_total{productId="0"}'] == 2
    assert meters.value(OVER, label="productId") == 6


async def test_a_new_series_has_a_zero_sample_before_its_first_event(events, state, clock):
    """
    A series that comes while toban runs was nought at the look before; one that was there already was not.
    """
    await events.accept(lines(VIEW))
    scraper = Collector(instance="here").open(Tools(state, clock))
    first = await scraper.collect()
    await events.accept(lines({**VIEW, "product": "8"}))
    clock.advance(15)
    second = await scraper.collect()

    assert [len(scrape.batches) for scrape in (first, second)] == [1, 2]
    nought, now = second.batches
    assert now.at - nought.at == timedelta(seconds=15) / timedelta(milliseconds=1)
    assert nought.values.tolist() == [0]
    assert now.values.tolist() == [1, 1]


async def test_concurrent_requests_lose_no_event(events, state, clock):
    """
    Each is one transaction.
    """
    await asyncio.gather(*(events.accept(lines(VIEW, VIEW)) for _ in range(20)))

    assert list((await numbers(state, clock)).values()) == [40]
