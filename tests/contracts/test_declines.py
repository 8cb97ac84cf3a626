"""Payment declines that a provider reports, on both databases."""

from datetime import timedelta

import pytest

from toban.collect.collectors.vendure_db import payment_attempts
from toban.collect.collectors.vendure_db.payment_attempts import FailedAttempt
from toban.collect.collectors.vendure_db.payment_declines import PaymentDeclineCounter
from toban.core.metric_registry import MetricRegistry
from toban.instruments.metric_families import PAYMENTS_FAILED
from toban.state import durable_counters


async def test_a_reported_decline_counts_once_and_the_order_stays_open(state, clock):
    """
    Told again within its minute it is the same word; a later one is another attempt, and the newest.
    """
    declining, first = PaymentDeclineCounter(state, clock, MetricRegistry(), "events"), clock.now()
    for at in (first, first, first + timedelta(minutes=5)):
        await declining.record("ABC", "stripe", "Your card was declined.", at)

    counted = await state.transaction(lambda connection: durable_counters.load(connection, "events", [PAYMENTS_FAILED]))
    open_ = await state.transaction(payment_attempts.open_attempts)
    assert counted.value(PAYMENTS_FAILED, method="stripe", error="declined") == 2
    assert open_ == {"ABC": FailedAttempt("ABC", "stripe", first + timedelta(minutes=5))}


@pytest.mark.parametrize("order", ["A\0B", "\ud800", "x" * 120])
async def test_an_order_with_a_code_that_no_database_stores_counts_once_too(state, clock, order):
    """
    It is found again as it was stored.
    """
    declining = PaymentDeclineCounter(state, clock, MetricRegistry(), "events")
    for _ in range(2):
        await declining.record(order, "stripe", "Your card was declined.", clock.now())
    counted = await state.transaction(lambda connection: durable_counters.load(connection, "events", [PAYMENTS_FAILED]))
    assert counted.value(PAYMENTS_FAILED, method="stripe", error="declined") == 1
    assert len(await state.transaction(payment_attempts.open_attempts)) == 1
