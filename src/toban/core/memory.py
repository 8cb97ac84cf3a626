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


async def spared(clock: Clock) -> NoReturn:
    """
    Keep glibc from keeping what a large question took, until cancelled.

    Left alone it raises its thresholds after the first one and keeps everything. Low thresholds make questions slow:
    each array comes from the system anew, and is filled with noughts by it. So they are high, and what lies unused is
    given back twice a minute. Where there is no glibc nothing is done.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):
        for what, value in ((MMAP_THRESHOLD, LARGE), (TRIM_THRESHOLD, LARGE), (ARENA_MAX, 2)):
            libc.mallopt(what, value)
    while True:
        await clock.sleep(EVERY)
        if hasattr(libc, "malloc_trim"):
            await asyncio.to_thread(libc.malloc_trim, 0)
