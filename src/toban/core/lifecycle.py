"""
Running until asked to stop, and stopping in time.

What does not end in time is named in the log and abandoned: a process that was asked to stop stops.
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
"""Seconds that services have to end."""
AGAIN: Final = 3.0
"""Seconds after which whatever still runs is cancelled again: an ordered end takes less."""
OFTEN: Final = 0.25
"""Seconds between further cancels."""
CLOSING: Final = 2.0
"""Seconds that one resource has to close."""
LEFT_OVER: Final = 1.0
"""Seconds for tasks and threads that belong to no service."""
TWICE: Final = 0.05
"""Seconds within which a second signal is the first again: `timeout` sends it to a process, and to its group."""
WHOLE: Final = 30.0
"""Seconds after which the process ends whatever holds it: a disk that hangs, a loop that is blocked."""


def run(main: Coroutine[Any, Any, T]) -> T:
    """
    Run a coroutine in a loop of its own, and return what it returns.

    Unlike `asyncio.run` it waits neither for tasks that swallow their cancel nor for threads that hang, as in a DNS
    lookup: see `exit_now`.
    """
    runner = asyncio.Runner()
    try:
        return runner.run(main)
    finally:
        loop = runner.get_loop()
        loop.run_until_complete(_wind_up())
        asyncio.set_event_loop(None)
        loop.close()


async def _wind_up() -> None:
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=LEFT_OVER)
    await asyncio.wait([asyncio.ensure_future(asyncio.get_running_loop().shutdown_asyncgens())], timeout=LEFT_OVER)


class StoppedError(Exception):
    """It was asked to stop before it had begun."""


@asynccontextmanager
async def abort_on(stop: asyncio.Event) -> AsyncIterator[None]:
    """Give up what the block does when `stop` is set meanwhile: then it raises ``StoppedError``."""
    opening = asyncio.current_task()
    assert opening  # noqa: S101  # a coroutine runs in a task

    async def watch() -> None:
        await stop.wait()
        log.info("stopping")
        opening.cancel()

    watching = asyncio.create_task(watch(), name="stop")
    try:
        yield
    except asyncio.CancelledError:
        if not stop.is_set():
            raise
        opening.uncancel()
        raise StoppedError from None
    finally:
        watching.cancel()


async def run_services(jobs: Iterable[tuple[str, Coroutine[Any, Any, object]]], stop: asyncio.Event) -> None:
    """
    Run named jobs until `stop` is set or one of them breaks, and end them all.

    Raises ``ExceptionGroup`` with what broke.
    """
    tasks = [asyncio.create_task(job, name=name) for name, job in jobs]
    asked = asyncio.create_task(stop.wait(), name="stop")
    running = set(tasks)
    try:
        while running and not asked.done():
            done, _ = await asyncio.wait({*running, asked}, return_when=asyncio.FIRST_COMPLETED)
            running -= done
            if any(_error(task) for task in done):
                break
    finally:
        asked.cancel()
        if stop.is_set():
            log.info("stopping")
        await _ended(tasks)
    if errors := [error for task in tasks if (error := _error(task))]:
        raise BaseExceptionGroup("a service broke", errors)


def _error(task: "asyncio.Task[Any]") -> BaseException | None:
    return task.exception() if task.done() and not task.cancelled() else None


async def _ended(tasks: Iterable["asyncio.Task[Any]"]) -> None:
    """
    Cancel tasks and wait until they have ended, but not for ever.

    One cancel is not enough: `asyncio.wait_for` of Python 3.11 drops one that meets a finished answer. So every task
    that still runs is cancelled again, those of a service's own too, which the service alone can't reach any more.
    """
    now = asyncio.get_running_loop().time
    left, end, pause = {task for task in tasks if not task.done()}, now() + SERVICE_STOP_SECONDS, AGAIN
    for task in left:
        task.cancel()
    while left and now() < end:
        _, left = await asyncio.wait(left, timeout=pause)
        pause = OFTEN
        if left:
            for task in asyncio.all_tasks() - {asyncio.current_task()}:
                task.cancel()
    held = [task.get_name() for task in asyncio.all_tasks() - {asyncio.current_task(), *left}] if left else []
    for task in left:
        log.error("abandoned: it did not end in time", service=task.get_name(), at=_where(task), beside=sorted(held))


def _where(task: "asyncio.Task[Any]") -> str:
    """Return where a task stands, as far as that shows."""
    frames = task.get_stack(limit=1)
    return "".join(f"{frame.f_code.co_filename}:{frame.f_lineno}" for frame in frames)


class ResourceStack(AsyncExitStack):
    """
    Closes what was opened in the opposite order; what does not close in time is named and passed over.

    The others are closed all the same: a shop's database that hangs costs no sample.
    """

    async def enter_async_context(self, cm: AbstractAsyncContextManager[T, bool | None]) -> T:
        """Open something that is closed in time."""
        return await super().enter_async_context(_InTime(cm))


class _InTime(AbstractAsyncContextManager[T, bool | None]):
    def __init__(self, resource: AbstractAsyncContextManager[T, bool | None]) -> None:
        self._resource = resource

    async def __aenter__(self) -> T:
        return await self._resource.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        name = getattr(getattr(self._resource, "gen", None), "__name__", type(self._resource).__name__)
        closing = asyncio.ensure_future(_awaited(self._resource.__aexit__(kind, error, trace)))
        await asyncio.wait([closing], timeout=CLOSING)
        if not closing.done():
            log.error("abandoned: it did not close in time", resource=name)
            return None
        return closing.result()


async def _awaited(closing: Any) -> bool | None:
    result: bool | None = await closing
    return result


def stop_event() -> asyncio.Event:
    """
    Return an event that SIGTERM or Ctrl-C sets; the second one ends the process at once.

    From then on the process has `WHOLE` seconds, also when its loop is blocked.
    """
    stop, loop, first = asyncio.Event(), asyncio.get_running_loop(), list[float]()

    def handle(number: int, frame: FrameType | None) -> None:
        if not first:
            first.append(time.monotonic())
            exit_after(WHOLE)
            loop.call_soon_threadsafe(loop.call_later, TWICE, stop.set)
        elif time.monotonic() - first[0] > TWICE:
            # The log may be in the middle of a line.
            with contextlib.suppress(RuntimeError):
                log.warning("ending at once: asked to stop for the second time")
            os._exit(128 + number)

    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, handle)
    return stop


def exit_after(seconds: float, code: int = 1) -> None:
    """Let the process end after so many seconds, from a thread: also when the loop is blocked, or threads hang."""
    timer = threading.Timer(seconds, _end, (code,))
    timer.daemon = True
    timer.start()


def exit_now(code: int) -> NoReturn:
    """End the process with an exit code; threads that hang are not waited for, as Python would."""
    exit_after(LEFT_OVER, code)
    sys.exit(code)


def _end(code: int) -> None:
    frames = sys._current_frames()  # noqa: SLF001  # where another thread stands shows nowhere else
    left = [thread for thread in threading.enumerate() if not thread.daemon and thread.ident in frames]
    # The main thread waits for the others, if there are others.
    for thread in [it for it in left if it is not threading.main_thread()] or left:
        at = traceback.extract_stack(frames[thread.ident or 0])[-1]
        log.error("abandoned: a thread did not end in time", thread=thread.name, at=f"{at.filename}:{at.lineno}")
    os._exit(code)
