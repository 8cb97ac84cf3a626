"""A cache of the values that were used last."""

from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class LruCache(Generic[Key, Value]):
    """The values used last, up to a total size. Safe to use from any thread."""

    def __init__(self, limit: int, size: Callable[[Value], int]) -> None:
        self._lock = Lock()
        self._limit = limit
        self._size_of = size
        self._size = 0
        self._values: dict[Key, Value] = {}

    def get(self, key: Key) -> Value | None:
        """Return a cached value and mark it as used, or return None."""
        with self._lock:
            found = self._values.pop(key, None)
            if found is not None:
                self._values[key] = found
            return found

    def put(self, key: Key, value: Value) -> None:
        """Cache a value; the least recently used ones are evicted."""
        with self._lock:
            before = self._values.pop(key, None)
            if before is not None:
                self._size -= self._size_of(before)
            self._values[key] = value
            self._size += self._size_of(value)
            while self._size > self._limit:
                self._size -= self._size_of(self._values.pop(next(iter(self._values))))
