"""Work that must not hold the loop."""

import asyncio
import threading

import pytest

from toban.core.errors import CollectError
from toban.core.worker_thread import WorkerThread


async def test_work_runs_in_order():
    """
    As soon as one result is there the next may begin, however slowly the thread ends.
    """
    aside = WorkerThread()
    assert [await aside.run(lambda n=n: n) for n in range(200)] == list(range(200))


async def test_an_exception_is_raised_to_the_caller():
    """
    And the next work is done all the same.
    """
    aside = WorkerThread()
    with pytest.raises(ZeroDivisionError):
        await aside.run(lambda: 1 / 0)
    assert await aside.run(lambda: 1) == 1


async def test_hanging_work_fails_its_own_runs_only():
    """
    Until it ends, who asks is told so.
    """
    aside, let_go = WorkerThread(), threading.Event()
    hanging = asyncio.create_task(aside.run(lambda: let_go.wait(30)))
    await asyncio.sleep(0)
    with pytest.raises(CollectError, match="still hangs"):
        await aside.run(lambda: 1)
    let_go.set()
    assert await hanging
    assert await aside.run(lambda: 1) == 1


async def test_a_machine_without_threads_fails_one_run(monkeypatch):
    """
    When there are some again, the work is done.
    """

    def none_left(thread):
        raise RuntimeError("can't start new thread")

    aside = WorkerThread()
    with monkeypatch.context() as now, pytest.raises(CollectError, match="no thread could be started"):
        now.setattr(threading.Thread, "start", none_left)
        await aside.run(lambda: 1)
    assert await aside.run(lambda: 1) == 1
