"""Blocking work outside the event loop."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

from toban.core.errors import CollectError, TobanError

T = TypeVar("T")


class WorkerThread:
    """
    Runs one user's blocking calls in a thread of its own, one at a time.

    A call that hangs (on a disk) blocks its thread for ever: in a shared pool it would take one thread per call, until
    not even names could be resolved. Here it fails only its own user, with ``error``, and toban can still stop.
    """

    def __init__(self, name: str = "collector", error: type[TobanError] = CollectError) -> None:
        self._name = name
        self._error = error
        self._busy = False

    async def run(self, work: Callable[[], T]) -> T:
        """
        Call ``work``, and return or raise its result.

        Raises the ``error`` of this thread while an earlier call has not returned.
        """
        if self._busy:
            raise self._error("an earlier call still hangs")
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
            threading.Thread(target=run, name=self._name, daemon=True).start()
        except RuntimeError as error:
            self._busy = False
            raise self._error(f"no thread could be started: {error}") from error
        return await done
