"""Blocking work outside the event loop."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

from toban.core.errors import CollectError

T = TypeVar("T")


class WorkerThread:
    """
    Runs one collector's blocking calls in a thread of its own, one at a time.

    A call that hangs (on a disk) blocks its thread for ever: in a shared pool it would take one thread per collection,
    until not even names could be resolved. Here it fails only this collector, and toban can still stop.
    """

    def __init__(self) -> None:
        self._busy = False

    async def run(self, work: Callable[[], T]) -> T:
        """
        Call ``work``, and return or raise its result.

        Raises ``CollectError`` while an earlier call has not returned.
        """
        if self._busy:
            raise CollectError("an earlier collection still hangs")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def finish(result: T | None, error: BaseException | None) -> None:
            if done.cancelled():
                return
            if error is None:
                done.set_result(result)  # type: ignore[arg-type]  # without an error there is a result
            else:
                done.set_exception(error)

        def run() -> None:
            result, error = None, None
            try:
                result = work()
            except Exception as caught:  # it is raised where it is awaited
                error = caught
            self._busy = False
            # A loop that was closed meanwhile waits for nothing.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(finish, result, error)

        self._busy = True
        try:
            threading.Thread(target=run, name="collector", daemon=True).start()
        except RuntimeError as error:
            self._busy = False
            raise CollectError(f"no thread could be started: {error}") from error
        return await done
