"""Waiting for a time or a wake-up call."""

import asyncio
from typing import Any

from toban.core.periodic import raise_if_cancelled
from toban.core.ports import Clock


class Wakeup:
    """Wakes whoever waits; set while nobody waits, it wakes the next one at once."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._set = asyncio.Event()

    def set(self) -> None:
        """Wake whoever waits."""
        self._set.set()

    async def wait(self, seconds: float | None) -> None:
        """Wait for some seconds (``None``: without a limit), or until it is set."""
        raise_if_cancelled()
        waits: list[asyncio.Future[Any]] = [asyncio.ensure_future(self._set.wait())]
        if seconds is not None:
            waits.append(asyncio.ensure_future(self._clock.sleep(seconds)))
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for it in waits:
                it.cancel()
            self._set.clear()
