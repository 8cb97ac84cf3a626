"""One computation for concurrent requests."""

import asyncio

import pytest

from toban.core.single_flight import SingleFlight


class Making:
    """Makes answers, each when it is let."""

    def __init__(self):
        self.begun, self.let, self.beginning = 0, asyncio.Semaphore(0), asyncio.Event()

    async def __call__(self):
        self.begun += 1
        self.beginning.set()
        number = self.begun
        await self.let.acquire()
        if number == 3:
            raise ValueError("third")
        return number


async def test_results_are_newer_than_their_requests_and_two_run_at_most():
    making = Making()
    shared = SingleFlight(making)
    first = [asyncio.create_task(shared.get()) for _ in range(20)]
    await making.beginning.wait()
    later = [asyncio.create_task(shared.get()) for _ in range(20)]
    await asyncio.sleep(0)
    making.let.release()
    assert set(await asyncio.gather(*first)) == {1}
    making.let.release()
    assert set(await asyncio.gather(*later)) == {2}
    assert making.begun == 2


async def test_a_cancelled_request_and_an_error_leave_other_requests():
    making = Making()
    shared = SingleFlight(making)
    leaving, staying = asyncio.create_task(shared.get()), asyncio.create_task(shared.get())
    await making.beginning.wait()
    leaving.cancel()
    for _ in range(4):
        making.let.release()
    assert await staying == 1
    assert await shared.get() == 2
    with pytest.raises(ValueError, match="third"):
        await shared.get()
    assert await shared.get() == 4
