"""What happened in the shop, in order."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from toban.collect.book import Attempt
from toban.collect.orders import COARSE, FAILS_AFTER, FINE, Failure, Payment, decided, newest_attempts, steps

NOW = datetime(2026, 11, 25, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def test_an_order_fails_a_quarter_of_an_hour_after_its_last_failed_attempt():
    """
    Not a second earlier; one that was placed in time never does, one that was placed later did.
    """
    attempts = [Attempt(code, "card", NOW) for code in ("waiting", "placed", "late")]
    placed = {"placed": NOW + FAILS_AFTER, "late": NOW + FAILS_AFTER + SECOND}
    due = NOW + FAILS_AFTER

    assert decided(attempts, placed, due - SECOND) == ([], ["placed"])
    failures, ended = decided(attempts, placed, due)
    assert failures == [Failure("waiting", due, "card"), Failure("late", due, "card")]
    assert sorted(ended) == ["late", "placed", "waiting"]


def test_of_several_attempts_the_newest_counts():
    """
    In whatever order they are read, and by its own method.
    """
    payments = [Payment("2", NOW, "A", "invoice", "error"), Payment("1", NOW - SECOND, "A", "card", "declined")]
    known = {"A": Attempt("A", "card", NOW - 2 * SECOND)}

    assert (
        newest_attempts(known, payments)
        == newest_attempts(known, payments[::-1])
        == {"A": Attempt("A", "invoice", NOW)}
    )


@given(st.timedeltas(timedelta(0), timedelta(days=3)), st.timedeltas(timedelta(0), timedelta(hours=6)))
def test_what_was_missed_is_told_in_even_steps_up_to_the_end(ago, length):
    """
    Fine ones within the newest day, coarser ones before; the last is the end itself, and none is left out.
    """
    since = NOW - ago
    until = min(since + length, NOW)
    found = steps(since, until, NOW)

    assert (found[-1] if found else since) == until
    widths = [after - before for before, after in zip([since, *found], found, strict=False)]
    assert all(timedelta(0) < width <= COARSE for width in widths)
    assert set(widths[:-1]) <= {FINE, COARSE}
