"""Payments that failed without a row in the shop's tables, by a provider's word."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from toban.collect import repository
from toban.core.ports import Clock, Recorder
from toban.instruments.business_metrics import BusinessMetrics
from toban.instruments.cardinality import CardinalityLimits
from toban.instruments.error_classes import payment_error
from toban.instruments.metric_families import PAYMENTS_FAILED
from toban.state import durable_counters
from toban.state.database import State

SEEN: Final = "declines"
"""The book of what providers said."""

KEPT: Final = timedelta(days=2)
SAME: Final = 60
"""Seconds within which the same word about the same order is taken for a repetition."""


class PaymentDeclineCounter:
    """
    Takes what a provider says, and counts it among what is pushed.

    The order then fails like any other, when it is not placed within a quarter of an hour (`vendure_db`).
    """

    def __init__(self, state: State, clock: Clock, meters: Recorder, into: str) -> None:
        self._state = state
        self._clock = clock
        self._meters = meters
        self._into = into

    async def record(self, order: str, method: str, error: str, at: datetime) -> None:
        """Count a failed attempt to pay for an order, once. Raises ``StateError``."""
        key = f"{order} {int(at.timestamp()) // SAME}"
        oldest = self._clock.now() - KEPT

        def work(connection: Connection) -> None:
            if key in repository.recently_counted(connection, SEEN):
                return
            meters, budgets = (
                durable_counters.load(connection, self._into, [PAYMENTS_FAILED]),
                CardinalityLimits(self._meters),
            )
            budgets.learn(meters)
            BusinessMetrics(meters, budgets).track_failed_payment(method, payment_error("Declined", error))
            durable_counters.save(connection, self._into, meters)
            repository.record_attempt(connection, repository.FailedAttempt(order[:100], method, at))
            repository.record_counted(connection, SEEN, {key: at}, oldest)

        await self._state.transaction(work)
