"""Tasks that a service runs beside its own loop, by a number: started, awaited, and cancelled with the service."""

import asyncio
from collections.abc import Coroutine
from typing import Any


class BackgroundTasks:
    """The tasks that go on. A task of a number that is known already is not started twice."""

    def __init__(self) -> None:
        self._tasks: dict[int, asyncio.Task[None]] = {}

    def __contains__(self, number: int) -> bool:
        return number in self._tasks

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, number: int, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run a coroutine in the background; its number is free again when it ends."""
        if number in self._tasks:
            work.close()
            return
        task = self._tasks[number] = asyncio.get_running_loop().create_task(work, name=name)
        task.add_done_callback(lambda _: self._tasks.pop(number, None))

    async def settled(self) -> None:
        """Wait until none goes on."""
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))
            await asyncio.sleep(0)

    async def cancel(self) -> None:
        """Cancel all, and wait until they have ended: what they hold is released before this returns."""
        running = list(self._tasks.values())
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
