"""Payments that failed without a row in the shop's tables, as payment providers report them."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection

from toban.collect import repository
from toban.collect.collectors.vendure_db import payment_attempts
from toban.collect.collectors.vendure_db.payment_attempts import FailedAttempt
from toban.core.ports import Clock, Recorder
from toban.instruments.business_metrics import BusinessMetrics
from toban.instruments.cardinality import CardinalityLimits
from toban.instruments.error_classes import payment_error
from toban.instruments.metric_families import PAYMENTS_FAILED
from toban.state import durable_counters
from toban.state.column_types import storable
from toban.state.database import State

STREAM: Final = "declines"
"""The stream's name in state."""

KEPT: Final = timedelta(days=2)
DUPLICATE_SECONDS: Final = 60
"""Seconds within which another report about the same order is a duplicate."""


class PaymentDeclineCounter:
    """
    Counts what providers report, among the pushed counters.

    The order then fails like any other, when it is not placed within a quarter of an hour (`vendure_db`).
    """

    def __init__(self, state: State, clock: Clock, meters: Recorder, counters: str) -> None:
        """``counters`` is the name under which state keeps the pushed counters."""
        self._state = state
        self._clock = clock
        self._meters = meters
        self._counters = counters

    async def record(self, order: str, method: str, error: str, at: datetime) -> None:
        """Count a failed payment attempt of an order, once. Raises ``StateError``."""
        key = f"{storable(order)} {int(at.timestamp()) // DUPLICATE_SECONDS}"
        oldest = self._clock.now() - KEPT

        def work(connection: Connection) -> None:
            if key in repository.recently_counted(connection, STREAM):
                return
            meters = durable_counters.load(connection, self._counters, [PAYMENTS_FAILED])
            limits = CardinalityLimits(self._meters)
            limits.learn(meters)
            BusinessMetrics(meters, limits).track_failed_payment(method, payment_error("Declined", error))
            durable_counters.save(connection, self._counters, meters)
            payment_attempts.record_attempt(connection, FailedAttempt(order[:100], method, at))
            repository.record_counted(connection, STREAM, {key: at}, oldest)

        await self._state.transaction(work)
