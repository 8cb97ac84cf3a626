"""Returns unused memory to the operating system."""

import asyncio
import ctypes
from typing import Final, NoReturn

from toban.core.ports import Clock

LARGE_BYTES: Final = 8 * 2**20
"""Bytes above which an allocation is a mapping of its own, returned when it is freed."""

TRIM_INTERVAL: Final = 30.0
"""Seconds between two trims."""

MMAP_THRESHOLD, TRIM_THRESHOLD, ARENA_MAX = -3, -1, -8
"""M_MMAP_THRESHOLD, M_TRIM_THRESHOLD and M_ARENA_MAX of glibc's malloc.h."""


def limit_arenas() -> None:
    """
    Fix glibc's thresholds and limit its arenas; call it before the first thread starts.

    By default glibc raises its thresholds after the first large query and keeps all the memory that it took. Low
    thresholds make queries slow: the kernel maps and zeroes each array anew. So they are high, and
    `trim_periodically` returns what is unused. Without glibc this does nothing.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        for parameter, value in ((MMAP_THRESHOLD, LARGE_BYTES), (TRIM_THRESHOLD, LARGE_BYTES), (ARENA_MAX, 2)):
            libc.mallopt(parameter, value)


async def trim_periodically(clock: Clock) -> NoReturn:
    """Return unused memory to the operating system, until cancelled."""
    libc = ctypes.CDLL(None)
    while True:
        await clock.sleep(TRIM_INTERVAL)
        if hasattr(libc, "malloc_trim"):
            await asyncio.to_thread(libc.malloc_trim, 0)
