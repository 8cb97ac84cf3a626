"""Waiting for a time or a wake-up call."""

import asyncio

from toban.core.ports import Clock


class Wakeup:
    """Wakes whoever waits; set while nobody waits, it wakes the next one at once."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._set = asyncio.Event()

    def set(self) -> None:
        """Wake whoever waits."""
        self._set.set()

    async def wait(self, seconds: float) -> None:
        """Wait for some seconds, or until it is set."""
        waking = asyncio.ensure_future(self._set.wait())
        sleeping = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait({waking, sleeping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waking.cancel()
            sleeping.cancel()
            self._set.clear()
