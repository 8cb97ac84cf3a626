"""Which keys of a Redis may be removed, and at what cost. Pure."""

import math
import re
from collections import deque
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Final

from toban.core.number_format import format_bytes

SCAN_COUNT: Final = 1_000
UNLINK_COUNT: Final = 500

PROTECTED: Final = ("bull:", "vendure-cache:")
"""Prefixes of the shop's jobs and of its cache."""

_WILDCARD: Final = re.compile(r"[*?\[\\]")
FRAGMENTATION: Final = 1.5
"""The ratio of the process' memory to that of the data from which memory is given back."""
LEAST_UNUSED: Final = 64 * 2**20
LATENCY_SAMPLES: Final = 5
LEAST_LATENCY: Final = 0.002
"""Seconds below which commands are fast, whatever they were before."""


def literal_prefix(pattern: str) -> str:
    """Return what every key begins with that a glob pattern of Redis matches."""
    return _WILDCARD.split(pattern, maxsplit=1)[0]


def refusal(pattern: str, protected: Sequence[str] = ()) -> str:
    """Return why keys of a pattern must not be removed; empty where they may."""
    prefix = literal_prefix(pattern)
    if not prefix:
        return f"the pattern {pattern!r} begins with a wildcard: it could match any key"
    if "{" in prefix:
        return f"the pattern {pattern!r} could match a queue with a hash tag"
    for it in (*PROTECTED, *protected):
        if prefix.startswith(it) or it.startswith(prefix):
            return f"the pattern {pattern!r} could match {it}*: jobs or the shop's cache"
    return ""


def scan_commands(keys: int) -> int:
    """Return how many SCANs it takes to see all keys."""
    return max(1, math.ceil(keys / SCAN_COUNT))


def tidy_commands(keys: int, hits: int) -> int:
    """Return how many commands it takes to see all keys and to remove the hits."""
    return scan_commands(keys) + math.ceil(hits / UNLINK_COUNT)


def reason_to_purge(info: Mapping[str, str]) -> str:
    """Return why memory is given back; empty where it is not, or can't be: Upstash has no MEMORY PURGE."""
    if "upstash_version" in info or not info.get("mem_allocator", "").startswith("jemalloc"):
        return ""
    used, resident = int(info.get("used_memory", 0)), int(info.get("used_memory_rss", 0))
    if not used or resident < FRAGMENTATION * used or resident - used < LEAST_UNUSED:
        return ""
    return f"its process has {format_bytes(resident)} for {format_bytes(used)} of data"


class LatencyGuard:
    """Tells when commands have become twice as slow as they were at the beginning."""

    def __init__(self) -> None:
        self._first: list[float] = []
        self._last: deque[float] = deque(maxlen=LATENCY_SAMPLES)

    def is_doubled(self, seconds: float) -> bool:
        """Add the duration of a command; return whether the last ones took twice as long as the first ones."""
        if len(self._first) < LATENCY_SAMPLES:
            self._first.append(seconds)
            return False
        self._last.append(seconds)
        if len(self._last) < LATENCY_SAMPLES:
            return False
        return median(self._last) > max(2 * median(self._first), LEAST_LATENCY)
