"""Garbage collection in a process that runs for months."""

import asyncio
import gc
import weakref

import pytest

from toban.core import garbage_collector
from toban.core.garbage_collector import FREEZE_INTERVAL, FREEZES, freeze_periodically
from toban.core.gc_pause import collection_paused


class Sleeps:
    """A clock whose sleeps end when the test lets them."""

    def __init__(self):
        self.slept = 0.0
        self._turn, self._asleep = asyncio.Semaphore(0), asyncio.Event()

    async def sleep(self, seconds):
        self._asleep.set()
        await self._turn.acquire()
        self.slept += seconds

    async def next_sleep(self):
        """Wait until the task sleeps again."""
        self._asleep.clear()
        self._turn.release()
        await self._asleep.wait()

    async def first_sleep(self):
        await self._asleep.wait()


class Cycle:
    def __init__(self):
        self.itself = self


@pytest.fixture
async def clock():
    """Freeze periodically, by a clock; automatic collections would free garbage at any time."""
    clock, thresholds = Sleeps(), gc.get_threshold()
    gc.disable()
    task = asyncio.create_task(freeze_periodically(clock))
    try:
        await clock.first_sleep()
        yield clock
    finally:
        task.cancel()
        gc.unfreeze()
        gc.set_threshold(*thresholds)
        gc.enable()


async def test_objects_that_stay_are_exempt_from_collections(clock):
    """
    And freed with their last reference, as ever.
    """
    many = [Cycle() for _ in range(1_000)]
    for one in many:
        one.itself = None
    frozen = gc.get_freeze_count()
    await clock.next_sleep()
    assert gc.get_freeze_count() >= frozen + 1_000
    assert len(gc.get_objects()) < 1_000
    gone = weakref.ref(many[0])
    del one, many
    assert gone() is None


async def test_garbage_is_collected_within_a_minute_or_an_hour(clock):
    """
    New garbage at the next collection; what became garbage when it was frozen, when all objects are searched.
    """
    new, old = Cycle(), Cycle()
    young, aged = weakref.ref(new), weakref.ref(old)
    del new
    await clock.next_sleep()
    assert young() is None
    del old
    await clock.next_sleep()
    assert aged() is not None
    for _ in range(FREEZES - 2):
        await clock.next_sleep()
    assert aged() is None
    assert clock.slept == FREEZES * FREEZE_INTERVAL == 3_600


async def test_after_unfreezing_the_next_collection_searches_everything(clock):
    """
    As after a reload: what the services before it used is garbage.
    """
    old = Cycle()
    await clock.next_sleep()
    aged = weakref.ref(old)
    del old
    garbage_collector.unfreeze()
    await clock.next_sleep()
    assert aged() is None


def test_collection_is_enabled_again_after_a_pause():
    with collection_paused():
        assert not gc.isenabled()
        with collection_paused():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()
