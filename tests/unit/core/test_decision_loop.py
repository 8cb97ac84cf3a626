import asyncio
from datetime import datetime, timedelta

import pytest

from tests.fakes import FakeClock
from toban.core.decision_loop import DecisionLoop


async def test_a_command_returns_after_the_decision_that_began_after_it():
    """
    Not after the one that was under way, which has not read what the command wrote.
    """
    clock, began, go_on = FakeClock(), asyncio.Queue[None](), asyncio.Semaphore(0)

    async def decide() -> datetime:
        began.put_nowait(None)
        await go_on.acquire()
        return clock.now() + timedelta(hours=1)

    loop = DecisionLoop(decide, clock)
    running = asyncio.create_task(loop.run())
    await began.get()
    command = asyncio.create_task(loop.decided())
    go_on.release()
    await began.get()
    assert not command.done()
    go_on.release()
    await command
    running.cancel()


async def test_a_command_does_not_wait_where_nobody_decides():
    async def decide() -> datetime:
        raise AssertionError("nobody asked for it")

    await DecisionLoop(decide, FakeClock()).decided()


async def test_a_failed_decision_raises_and_the_next_one_can_begin():

    async def decide() -> datetime:
        raise LookupError

    loop = DecisionLoop(decide, FakeClock())
    with pytest.raises(LookupError):
        await loop.decide()
    assert not loop.lock.locked()
