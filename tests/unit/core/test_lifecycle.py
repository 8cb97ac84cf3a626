"""Ending in time, whatever hangs."""

import asyncio
import signal
import subprocess
import sys
import textwrap
from contextlib import suppress

import pytest
from structlog.testing import capture_logs

from toban.core import lifecycle
from toban.core.lifecycle import ResourceStack, run_services
from toban.core.periodic import raise_if_cancelled

PATIENCE = 60


@pytest.fixture(autouse=True)
def _hurried(monkeypatch):
    for name in ("SERVICE_STOP_SECONDS", "RECANCEL_AFTER", "RECANCEL_INTERVAL", "CLOSE_SECONDS"):
        monkeypatch.setattr(lifecycle, name, getattr(lifecycle, name) / 20)


async def until_stopped(*jobs):
    """Run jobs, and stop them when each has begun."""
    stop, begun = asyncio.Event(), list[str]()

    async def announced(job):
        begun.append(job.__name__)
        if len(begun) == len(jobs):
            stop.set()
        await job()

    with capture_logs() as logged:
        await run_services([(job.__name__, announced(job)) for job in jobs], stop)
    return [line["service"] for line in logged if line["event"].endswith("abandoned")]


async def test_a_service_that_swallows_its_cancellation_is_cancelled_again():
    """
    Also a task of its own, which a group would not reach a second time.
    """
    swallowed = []

    async def deaf():
        while len(swallowed) < 3:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed.append(1)

    async def queues():
        async with asyncio.TaskGroup() as group:
            group.create_task(deaf())

    assert await until_stopped(queues) == []
    assert len(swallowed) == 3


async def test_a_service_that_never_ends_is_logged_and_abandoned():
    ended = []

    async def endless():
        while not ended:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    async def orderly():
        await asyncio.Event().wait()

    try:
        assert await until_stopped(endless, orderly) == ["endless"]
    finally:
        ended.append(1)


async def test_a_service_that_fails_stops_the_others_and_its_error_is_raised():
    others = []

    async def broken():
        raise ValueError("a bug")

    async def orderly():
        try:
            await asyncio.Event().wait()
        finally:
            others.append("ended")

    with pytest.raises(ExceptionGroup) as caught:
        await run_services([("broken", broken()), ("orderly", orderly())], asyncio.Event())
    assert [str(error) for error in caught.value.exceptions] == ["a bug"]
    assert others == ["ended"]


async def test_raise_if_cancelled_raises_a_swallowed_cancellation():
    """
    As `asyncio.wait_for` of Python 3.11 does it: the answer is there, and the cancel is dropped.
    """

    async def queue():
        while True:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            raise_if_cancelled()

    task = asyncio.create_task(queue())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task], timeout=PATIENCE)
    assert task.cancelled()


async def test_a_resource_that_does_not_close_is_abandoned():
    """
    What was opened before it is closed all the same.
    """
    closed = []

    class Orderly:
        async def __aenter__(self):
            return self

        async def __aexit__(self, *_):
            closed.append(type(self).__name__)

    class Hung(Orderly):
        async def __aexit__(self, *_):
            await asyncio.Event().wait()

    with capture_logs() as logged:
        async with ResourceStack() as stack:
            await stack.enter_async_context(Orderly())
            await stack.enter_async_context(Hung())
    assert closed == ["Orderly"]
    assert [line["resource"] for line in logged] == ["Hung"]


def program(body, *, wait_for="ready"):
    """Start a program that runs a body, and wait until it is ready."""
    started = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(body)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    while wait_for not in started.stdout.readline():
        assert started.poll() is None
    return started


HANGING = """
    import asyncio, threading
    from toban.core import lifecycle

    def hang():
        threading.Event().wait()

    async def main():
        asyncio.get_running_loop().run_in_executor(None, hang)
        {rest}

    lifecycle.run(main())
    lifecycle.exit_now(3)
"""


def test_a_hanging_thread_does_not_keep_the_process_running():
    """
    As a look-up of a name does, whose server does not answer.
    """
    started = program(HANGING.format(rest="print('ready', flush=True)"))
    said, _ = started.communicate(timeout=PATIENCE)
    assert started.returncode == 3
    assert "thread did not end in time, abandoned" in said


@pytest.mark.parametrize("name", [signal.SIGTERM, signal.SIGINT])
def test_the_second_signal_exits_at_once(name):
    rest = """
        stop = lifecycle.stop_event()
        print('ready', flush=True)
        await stop.wait()
        print('stopping', flush=True)
        await asyncio.Event().wait()
    """
    started = program(HANGING.format(rest=textwrap.dedent(rest).strip().replace("\n", "\n        ")))
    started.send_signal(name)
    while "stopping" not in started.stdout.readline():
        assert started.poll() is None
    started.send_signal(name)
    said, _ = started.communicate(timeout=PATIENCE)
    assert started.returncode == 128 + name
    assert "second signal, exiting at once" in said


def test_a_process_with_a_blocked_loop_exits():
    """
    A disk that hangs holds the thread of the loop itself.
    """
    rest = """
        lifecycle.PROCESS_STOP_SECONDS = 0.2
        stop = lifecycle.stop_event()
        print('ready', flush=True)
        await asyncio.sleep(0)
        threading.Event().wait()
    """
    started = program(HANGING.format(rest=textwrap.dedent(rest).strip().replace("\n", "\n        ")))
    started.send_signal(signal.SIGTERM)
    said, _ = started.communicate(timeout=PATIENCE)
    assert started.returncode == 1
    assert "abandoned" in said
