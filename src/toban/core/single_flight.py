"""One computation for all who request its result at the same time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """
    Computes a result once for all requests that wait for it.

    A request during a computation waits for the next one: no result is older than its request. So at most two are
    running or waiting, however many requests there are.
    """

    def __init__(self, compute: Callable[[], Awaitable[T]]) -> None:
        self._compute = compute
        self._next: asyncio.Task[T] | None = None
        self._running: asyncio.Task[T] | None = None

    async def get(self) -> T:
        """Return a result, or raise the error of the computation. Cancelling one request leaves the others."""
        if self._next is None:
            self._next = asyncio.create_task(self._run_after(self._running))
            # All requests may be cancelled by the time it fails.
            self._next.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(self._next)

    async def _run_after(self, before: "asyncio.Task[T] | None") -> T:
        if before:
            await asyncio.wait([before])
        self._running, self._next = self._next, None
        return await self._compute()
