"""Long responses, written so that short ones are not delayed."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

T = TypeVar("T")


class FairStreaming:
    """
    Writes long responses piece by piece: one piece of all of them at each iteration of the event loop.

    However many there are, a short response waits for one piece at a time.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def pieces(self, written: Iterable[T]) -> AsyncIterator[T]:
        """Return the pieces of one response."""
        rest = iter(written)
        while True:
            async with self._turn:  # waiters get it in their order
                try:
                    piece = next(rest)
                except StopIteration:
                    return
                await asyncio.sleep(0)  # a fast reader would never let the loop iterate
            yield piece
