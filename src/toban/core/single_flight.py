"""Answers that are made once for all who ask at the same time."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """
    Makes an answer once for all who wait for it.

    Who asks while one is being made waits for the next one: no answer was begun before it was asked for. So there are
    two at most on their way, however many ask.
    """

    def __init__(self, make: Callable[[], Awaitable[T]]) -> None:
        self._make = make
        self._next: asyncio.Task[T] | None = None
        self._running: asyncio.Task[T] | None = None

    async def get(self) -> T:
        """Return an answer, or raise what came instead. Cancelling one who waits leaves the others their answer."""
        if self._next is None:
            self._next = asyncio.create_task(self._made(self._running))
            # Perhaps nobody waits any more when it fails.
            self._next.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(self._next)

    async def _made(self, before: "asyncio.Task[T] | None") -> T:
        if before:
            await asyncio.wait([before])
        self._running, self._next = self._next, None
        return await self._make()
