"""What was wanted last."""

from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class LruCache(Generic[Key, Value]):
    """The values wanted last, up to a size of all together. May be used from any thread."""

    def __init__(self, limit: int, size: Callable[[Value], int]) -> None:
        self._lock = Lock()
        self._limit = limit
        self._of = size
        self._size = 0
        self._held: dict[Key, Value] = {}

    def get(self, key: Key) -> Value | None:
        """Return what is held, and note that it was wanted."""
        with self._lock:
            found = self._held.pop(key, None)
            if found is not None:
                self._held[key] = found
            return found

    def put(self, key: Key, value: Value) -> None:
        """Hold a value; those wanted longest ago make room."""
        with self._lock:
            before = self._held.pop(key, None)
            if before is not None:
                self._size -= self._of(before)
            self._held[key] = value
            self._size += self._of(value)
            while self._size > self._limit:
                self._size -= self._of(self._held.pop(next(iter(self._held))))
