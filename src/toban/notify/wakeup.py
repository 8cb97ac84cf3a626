"""Rest until there is something to do."""

import asyncio

from toban.core.ports import Clock


class Wakeup:
    """Wakes whoever rests; rung while nobody rests, it is remembered until somebody does."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rung = asyncio.Event()

    def set(self) -> None:
        """Say that there is something to do."""
        self._rung.set()

    async def wait(self, seconds: float) -> None:
        """Rest for so long, or until it rings."""
        ringing = asyncio.ensure_future(self._rung.wait())
        resting = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait({ringing, resting}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ringing.cancel()
            resting.cancel()
            self._rung.clear()
