"""The machine's clock, and the one of tests."""

from datetime import UTC

import pytest

from tests.fakes import FakeClock
from toban.core.clock import SystemClock
from toban.core.ports import Clock


@pytest.mark.parametrize("clock", [SystemClock(), FakeClock()], ids=["system", "fake"])
async def test_a_clock_tells_utc_and_sleeps_at_least_as_long_as_asked(clock: Clock):
    """
    On both of its scales.
    """
    time, seconds = clock.now(), clock.monotonic()
    assert time.tzinfo is UTC
    await clock.sleep(0.01)
    assert clock.monotonic() - seconds >= 0.01
    assert (clock.now() - time).total_seconds() >= 0.009
