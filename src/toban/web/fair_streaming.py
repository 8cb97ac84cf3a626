"""Long answers, written so that short ones are not late."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

T = TypeVar("T")


class FairStreaming:
    """
    Lets long answers be written piece by piece, all of them together one piece at each turn of the loop.

    However many there are, whoever asks something small waits for one piece at a time.
    """

    def __init__(self) -> None:
        self._turn = asyncio.Lock()

    async def pieces(self, written: Iterable[T]) -> AsyncIterator[T]:
        """Return the pieces of one answer."""
        rest = iter(written)
        while True:
            async with self._turn:  # who waits for it comes next, in the order of asking
                try:
                    piece = next(rest)
                except StopIteration:
                    return
                await asyncio.sleep(0)  # a fast reader would never make the loop turn
            yield piece
