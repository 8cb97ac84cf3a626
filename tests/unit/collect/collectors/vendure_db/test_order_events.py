"""Events of orders."""

from datetime import UTC, datetime, timedelta

from toban.collect.collectors.vendure_db.order_events import (
    FAILS_AFTER,
    GRACE,
    FailedOrder,
    FailedPayment,
    decide_failures,
    newest_attempts,
)
from toban.collect.collectors.vendure_db.payment_attempts import FailedAttempt

NOW = datetime(2026, 11, 25, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def test_an_order_fails_15_minutes_after_its_last_failed_attempt():
    """
    Said a grace later and not a second earlier; one that was placed in time never does, one that was placed later did.
    """
    attempts = [FailedAttempt(code, "card", NOW) for code in ("waiting", "placed", "late")]
    placed = {"waiting": None, "placed": NOW + FAILS_AFTER, "late": NOW + FAILS_AFTER + SECOND}
    due = NOW + FAILS_AFTER

    assert decide_failures(attempts, placed, due + GRACE - SECOND) == ([], ["placed"])
    failures, ended = decide_failures(attempts, placed, due + GRACE)
    assert failures == [FailedOrder("waiting", due, "card"), FailedOrder("late", due, "card")]
    assert ended == ["placed"]


def test_the_newest_attempt_of_an_order_counts():
    """
    In whatever order they are read, and by its own method.
    """
    payments = [
        FailedPayment("2", NOW, "A", "invoice", "error"),
        FailedPayment("1", NOW - SECOND, "A", "card", "declined"),
    ]
    known = {"A": FailedAttempt("A", "card", NOW - 2 * SECOND)}

    assert (
        newest_attempts(known, payments)
        == newest_attempts(known, payments[::-1])
        == {"A": FailedAttempt("A", "invoice", NOW)}
    )
