"""Work that must not hold the loop."""

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar

from toban.core.errors import CollectError

T = TypeVar("T")


class WorkerThread:
    """
    Does one collector's slow work in a thread of its own, one at a time.

    A disk that hangs holds its thread for ever: from a shared pool it would take one at every look, until nobody
    could even look a name up. Here it costs this collector its turns, and toban can still stop.
    """

    def __init__(self) -> None:
        self._busy = False

    async def run(self, work: Callable[[], T]) -> T:
        """
        Do the work, and return or raise what comes of it.

        Raises ``CollectError`` while what an earlier look began has not ended.
        """
        if self._busy:
            raise CollectError("what an earlier look began still hangs")
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()

        def tell(result: T | None, error: BaseException | None) -> None:
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
                loop.call_soon_threadsafe(tell, result, error)

        self._busy = True
        try:
            threading.Thread(target=run, name="aside", daemon=True).start()
        except RuntimeError as error:
            self._busy = False
            raise CollectError(f"no thread to work in: {error}") from error
        return await done
