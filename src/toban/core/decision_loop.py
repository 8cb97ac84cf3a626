"""Decides one time after the other, when something has happened or it is time; commands wait for what follows."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Final

from toban.core.ports import Clock
from toban.core.wakeup import Wakeup

READ_BACK: Final = 1.0
"""Seconds that a command waits for the decision that follows from it."""


class DecisionLoop:
    """
    Calls ``decide``, which returns when to decide again at the latest, and never twice at once.

    After a decision that took more than ``busy`` seconds the next one waits as long as that took, so that one change
    after the other does not keep the state thread busy with whole decisions.
    """

    def __init__(self, decide: Callable[[], Awaitable[datetime]], clock: Clock, *, busy: float | None = None) -> None:
        self._decide = decide
        self._clock = clock
        self._busy = busy
        self._wakeup = Wakeup(clock)
        self._is_running = False
        self._waiting: list[asyncio.Future[None]] = []
        """Commands that wait for a decision that begins after them."""
        self.lock = asyncio.Lock()
        """Held while it decides; its owner holds it while it is reconfigured."""

    def wake(self) -> None:
        """Decide again: there may be something new."""
        self._wakeup.set()

    async def decided(self) -> None:
        """Wake it, and return once what was committed before this call is part of a decision, or soon."""
        if not self._is_running:
            return
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        self.wake()
        await asyncio.wait([waiting], timeout=READ_BACK)

    async def decide(self) -> datetime:
        """Decide now; return when to decide again at the latest."""
        async with self.lock:
            waiting, self._waiting = self._waiting, []
            try:
                return await self._decide()
            finally:
                for it in waiting:
                    if not it.done():
                        it.set_result(None)

    async def run(self) -> None:
        """Decide until cancelled."""
        self._is_running = True
        try:
            while True:
                started = self._clock.monotonic()
                run_again = await self.decide()
                took = self._clock.monotonic() - started
                if self._busy is not None and took > self._busy:
                    await self._clock.sleep(took)
                await self._wakeup.wait(max(0.0, (run_again - self._clock.now()).total_seconds()))
        finally:
            self._is_running = False
