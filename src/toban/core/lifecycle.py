"""
Runs services until the process is asked to stop, and stops them in time.

What does not stop in time is logged and abandoned, so that the process always stops.
"""

import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from types import FrameType, TracebackType
from typing import Any, Final, NoReturn, TypeVar

import structlog

log = structlog.get_logger("toban.shutdown")
T = TypeVar("T")

SERVICE_STOP_SECONDS: Final = 5.0
"""Seconds that services have to stop."""
RECANCEL_AFTER: Final = 3.0
"""Seconds after which tasks that still run are cancelled again: an orderly stop takes less."""
RECANCEL_INTERVAL: Final = 0.25
"""Seconds between further cancellations."""
CLOSE_SECONDS: Final = 2.0
"""Seconds that one resource has to close."""
LEFTOVER_SECONDS: Final = 1.0
"""Seconds that tasks and threads of no service have to end."""
SAME_SIGNAL_SECONDS: Final = 0.05
"""Seconds within which a second signal counts as the first: `timeout` signals a process and its group."""
PROCESS_STOP_SECONDS: Final = 30.0
"""Seconds after which the process ends in any case: a disk may hang, the loop may be blocked."""


def run(main: Coroutine[Any, Any, T]) -> T:
    """
    Run a coroutine in a loop of its own, and return what it returns.

    Unlike `asyncio.run` it does not wait for tasks that swallow their cancellation, nor for threads that hang, as in a
    DNS lookup: see `exit_now`.
    """
    runner = asyncio.Runner()
    try:
        return runner.run(main)
    finally:
        loop = runner.get_loop()
        loop.run_until_complete(_cancel_leftovers())
        asyncio.set_event_loop(None)
        loop.close()


async def _cancel_leftovers() -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=LEFTOVER_SECONDS)
    await asyncio.wait(
        [asyncio.ensure_future(asyncio.get_running_loop().shutdown_asyncgens())], timeout=LEFTOVER_SECONDS
    )


class StoppedError(Exception):
    """The process was asked to stop before its services ran."""


@asynccontextmanager
async def abort_on(stop: asyncio.Event) -> AsyncIterator[None]:
    """Cancel the block when `stop` is set: it then raises ``StoppedError``."""
    task = asyncio.current_task()
    assert task  # noqa: S101  # a coroutine runs in a task

    async def watch() -> None:
        await stop.wait()
        log.info("stopping")
        task.cancel()

    watcher = asyncio.create_task(watch(), name="stop")
    try:
        yield
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
        task.uncancel()
        raise StoppedError from None
    finally:
        watcher.cancel()


async def run_services(services: Iterable[tuple[str, Coroutine[Any, Any, object]]], stop: asyncio.Event) -> None:
    """
    Run named services until `stop` is set or one of them fails, and stop them all.

    Raises ``BaseExceptionGroup`` with the errors.
    """
    tasks = [asyncio.create_task(service, name=name) for name, service in services]
    stopping = asyncio.create_task(stop.wait(), name="stop")
    running = set(tasks)
    try:
        while running and not stopping.done():
            done, _ = await asyncio.wait({*running, stopping}, return_when=asyncio.FIRST_COMPLETED)
            running -= done
            if any(_error(task) for task in done):
                break
    finally:
        stopping.cancel()
        if stop.is_set():
            log.info("stopping")
        await _stop(tasks)
    if errors := [error for task in tasks if (error := _error(task))]:
        raise BaseExceptionGroup("a service failed", errors)


def _error(task: "asyncio.Task[Any]") -> BaseException | None:
    return task.exception() if task.done() and not task.cancelled() else None


async def _stop(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """
    Cancel tasks and wait until they have ended, up to ``SERVICE_STOP_SECONDS``.

    One cancellation is not enough: `asyncio.wait_for` of Python 3.11 swallows one that coincides with its result. So
    every task that still runs is cancelled again, also the tasks that a service started, which it may have lost.
    """
    now = asyncio.get_running_loop().time
    left, deadline, pause = {task for task in tasks if not task.done()}, now() + SERVICE_STOP_SECONDS, RECANCEL_AFTER
    for task in left:
        task.cancel()
    while left and now() < deadline:
        _, left = await asyncio.wait(left, timeout=pause)
        pause = RECANCEL_INTERVAL
        if left:
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
    others = [task.get_name() for task in asyncio.all_tasks() - {asyncio.current_task(), *left}] if left else []
    for task in left:
        log.error(
            "service did not stop in time, abandoned", service=task.get_name(), at=_where(task), tasks=sorted(others)
        )


def _where(task: "asyncio.Task[Any]") -> str:
    """Return the file and line that a task is at, as far as they are known."""
    frames = task.get_stack(limit=1)
    return "".join(f"{frame.f_code.co_filename}:{frame.f_lineno}" for frame in frames)


class ResourceStack(AsyncExitStack):
    """
    Closes resources in the opposite order of their opening; one that does not close in time is logged and abandoned.

    The others are closed all the same: a shop's database that hangs loses no sample.
    """

    async def enter_async_context(self, cm: AbstractAsyncContextManager[T, bool | None]) -> T:
        """Open a resource that is closed within ``CLOSE_SECONDS``."""
        return await super().enter_async_context(_ClosedInTime(cm))


class _ClosedInTime(AbstractAsyncContextManager[T, bool | None]):
    def __init__(self, resource: AbstractAsyncContextManager[T, bool | None]) -> None:
        self._resource = resource

    async def __aenter__(self) -> T:
        return await self._resource.__aenter__()

    async def __aexit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        name = getattr(getattr(self._resource, "gen", None), "__name__", type(self._resource).__name__)
        closing = asyncio.ensure_future(_awaited(self._resource.__aexit__(type_, error, traceback)))
        await asyncio.wait([closing], timeout=CLOSE_SECONDS)
        if not closing.done():
            log.error("resource did not close in time, abandoned", resource=name)
            return None
        return closing.result()


async def _awaited(closing: Any) -> bool | None:
    result: bool | None = await closing
    return result


def stop_event() -> asyncio.Event:
    """
    Return an event that SIGTERM or Ctrl-C sets; a second signal ends the process at once.

    After the first one the process has `PROCESS_STOP_SECONDS` seconds, also when its loop is blocked.
    """
    stop, loop, first = asyncio.Event(), asyncio.get_running_loop(), list[float]()

    def handle(number: int, frame: FrameType | None) -> None:
        if not first:
            first.append(time.monotonic())
            exit_after(PROCESS_STOP_SECONDS)
            loop.call_soon_threadsafe(loop.call_later, SAME_SIGNAL_SECONDS, stop.set)
        elif time.monotonic() - first[0] > SAME_SIGNAL_SECONDS:
            # The log may be in the middle of a line.
            with contextlib.suppress(RuntimeError):
                log.warning("second signal, exiting at once")
            os._exit(128 + number)

    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, handle)
    return stop


def exit_after(seconds: float, code: int = 1) -> None:
    """Exit the process after so many seconds, from a thread: also when the loop is blocked or threads hang."""
    timer = threading.Timer(seconds, _exit_with_report, (code,))
    timer.daemon = True
    timer.start()


def exit_now(code: int) -> NoReturn:
    """Exit the process with a code; unlike Python, do not wait for threads that hang."""
    exit_after(LEFTOVER_SECONDS, code)
    sys.exit(code)


def _exit_with_report(code: int) -> None:
    frames = sys._current_frames()  # noqa: SLF001  # nothing else shows where another thread is
    left = [thread for thread in threading.enumerate() if not thread.daemon and thread.ident in frames]
    # If there are other threads, the main thread only waits for them.
    for thread in [it for it in left if it is not threading.main_thread()] or left:
        at = traceback.extract_stack(frames[thread.ident or 0])[-1]
        log.error("thread did not end in time, abandoned", thread=thread.name, at=f"{at.filename}:{at.lineno}")
    os._exit(code)
