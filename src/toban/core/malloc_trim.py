"""Memory that goes back to the system."""

import asyncio
import ctypes
from typing import Final, NoReturn

from toban.core.ports import Clock

LARGE: Final = 8 * 2**20
"""Bytes of an array above which it is never kept."""

EVERY: Final = 30.0
"""Seconds after which what lies unused goes back."""

MMAP_THRESHOLD, TRIM_THRESHOLD, ARENA_MAX = -3, -1, -8
"""What glibc's malloc.h calls M_MMAP_THRESHOLD, M_TRIM_THRESHOLD and M_ARENA_MAX."""


def limit_arenas() -> None:
    """
    Keep glibc from raising its thresholds by itself, and from many pools: before any thread is there.

    Left alone it raises them after the first large question and keeps everything that took. Low ones make questions
    slow: each array comes from the system anew, and is filled with noughts by it. So they are high, and what lies
    unused is given back by and by. Where there is no glibc nothing is done.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        for what, value in ((MMAP_THRESHOLD, LARGE), (TRIM_THRESHOLD, LARGE), (ARENA_MAX, 2)):
            libc.mallopt(what, value)


async def trim_periodically(clock: Clock) -> NoReturn:
    """Give back what lies unused, twice a minute, until cancelled."""
    libc = ctypes.CDLL(None)
    while True:
        await clock.sleep(EVERY)
        if hasattr(libc, "malloc_trim"):
            await asyncio.to_thread(libc.malloc_trim, 0)
