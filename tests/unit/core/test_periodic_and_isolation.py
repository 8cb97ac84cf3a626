"""The beat, the isolation, the meters."""

import asyncio
from datetime import timedelta

import pytest

from tests.fakes import FakeClock
from toban.core.errors import CollectError
from toban.core.metric_registry import MetricRegistry
from toban.core.periodic import MISSED, RUNS, TIMEOUTS, run_periodically
from toban.core.plugin_isolation import FAILURES, PluginIsolation

EVERY = timedelta(seconds=15)


class EnoughError(Exception):
    pass


async def rounds(job, clock, meters, **more):
    with pytest.raises(EnoughError):
        await run_periodically("job", EVERY, job, clock=clock, meters=meters, **more)


async def test_runs_keep_to_a_fixed_grid():
    """
    However long the job takes, rounds begin every fifteen seconds.
    """
    clock, meters, began = FakeClock(), MetricRegistry(), []

    async def job():
        began.append(clock.monotonic())
        clock.advance(len(began))
        if len(began) == 4:
            raise EnoughError

    await rounds(job, clock, meters)
    assert began == [0, 15, 30, 45]
    assert meters.value(RUNS, name="job") == 4


async def test_missed_runs_are_counted_and_not_made_up_for():
    """
    After forty seconds away, the next round is the next on the grid.
    """
    clock, meters, began = FakeClock(), MetricRegistry(), []

    async def job():
        began.append(clock.monotonic())
        clock.advance(40 if len(began) == 1 else 0)
        if len(began) == 3:
            raise EnoughError

    await rounds(job, clock, meters)
    assert began == [0, 40, 45]
    assert meters.value(MISSED, name="job") == 1


async def test_a_run_longer_than_the_interval_is_cancelled():
    """
    It is counted and told; the next one comes.
    """
    clock, meters, called = FakeClock(), MetricRegistry(), []

    async def job():
        if called:
            raise EnoughError
        await asyncio.Event().wait()

    async def on_timeout():
        called.append(True)

    with pytest.raises(EnoughError):
        await run_periodically(
            "job", timedelta(milliseconds=20), job, clock=clock, meters=meters, on_timeout=on_timeout
        )
    assert meters.value(TIMEOUTS, name="job") == 1


async def test_a_timeout_error_of_the_job_is_raised():
    """
    It goes through like everything the job raises.
    """

    async def job():
        raise TimeoutError("the job's own")

    with pytest.raises(TimeoutError, match="own"):
        await run_periodically("job", EVERY, job, clock=FakeClock(), meters=MetricRegistry())


def test_error_is_counted_and_kept_until_the_next_success():
    """
    Whether it is expected or not.
    """
    meters = MetricRegistry()
    isolation = PluginIsolation("collect", "shop", meters)
    for error in (CollectError("shop: refused"), ZeroDivisionError("bug")):
        with isolation:
            raise error
    assert isolation.error == "ZeroDivisionError: bug"
    assert meters.value(FAILURES, package="collect", name="shop") == 2
    with isolation:
        pass
    assert isolation.error == ""


def test_plugin_isolation_passes_cancellation():
    """
    We stop by cancelling.
    """
    with pytest.raises(asyncio.CancelledError), PluginIsolation("collect", "shop", MetricRegistry()):
        raise asyncio.CancelledError
