"""Python's garbage collector, paused while objects are made that stay."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collection_paused() -> Iterator[None]:
    """
    Pause the garbage collector: it would search thousands of new objects for cycles again and again; there are none.

    They are not frozen (``gc.freeze``) afterwards: garbage elsewhere would be frozen with them.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
