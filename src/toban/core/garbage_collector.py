"""Python's garbage collector: its pauses are kept short."""

import gc
from typing import Final, NoReturn

from toban.core.ports import Clock

FREEZE_INTERVAL: Final = 60.0
"""Seconds after which new objects that stay are exempted from collections."""

FREEZES: Final = 60
"""How many times objects are exempted before all are searched again: within an hour, all garbage is freed."""

RARELY: Final = 100
"""Collections of the middle generation before a full one begins by itself: as a rule none does within the interval."""


async def freeze_periodically(clock: Clock) -> NoReturn:
    """
    Exempt objects that stay from collections, until cancelled.

    A full collection searches all objects and blocks the whole process: for 80 ms at rest, for 250 ms beside thousands
    of alerts. So garbage is collected once a minute, and what survives is frozen: the next collection searches only
    what is new. Frozen objects are freed by their reference counts as ever; cycles of them wait for the next
    collection of everything.
    """
    youngest, middle, _ = gc.get_threshold()
    gc.set_threshold(youngest, middle, RARELY)
    while True:
        for _ in range(FREEZES):
            gc.collect()
            gc.freeze()
            await clock.sleep(FREEZE_INTERVAL)
        gc.unfreeze()


def unfreeze() -> None:
    """Let the next collection search all objects, after many that were frozen have become garbage."""
    gc.unfreeze()
