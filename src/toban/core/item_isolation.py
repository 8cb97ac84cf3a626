"""Isolation of items: a failure in one alert, silence or page part skips that item alone, and is reported."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final

from toban.core.ports import HealthStatus, Service


@dataclass(frozen=True, slots=True)
class ItemFailure:
    """A skipped item: its part (``alert``, ``silence``), its name, and the error."""

    part: str
    item: str
    error: str
    cause: Exception | None = field(default=None, compare=False, repr=False)


class ItemIsolation:
    """
    Runs work on each of several items, and collects the failures instead of raising.

    It logs nothing, so that pure functions can use it (`core.plugin_isolation` isolates whole plugins). The caller
    passes ``failures`` to `state.quarantine`, which counts and reports them. Only work without effects may be isolated;
    cancellation passes.
    """

    def __init__(self) -> None:
        self._failures: dict[tuple[str, str], ItemFailure] = {}

    @property
    def failures(self) -> Sequence[ItemFailure]:
        """The failures, one for each item."""
        return tuple(self._failures.values())

    def failed(self, part: str, item: str) -> bool:
        """Return whether an item has failed."""
        return (part, item) in self._failures

    def item(self, part: str, item: str) -> "Item":
        """Return a context manager around the work on one item: it records an exception and does not pass it on."""
        return Item(self, part, item)

    def record(self, part: str, item: str, error: Exception) -> None:
        """Record that an item failed."""
        message = f"{type(error).__name__}: {error}"[:500].encode("utf-8", "replace").decode()
        self._failures.setdefault((part, item), ItemFailure(part, item[:200], message, error))


class NoItemIsolation(ItemIsolation):
    """For callers that report no failures: an exception is raised."""

    def record(self, part: str, item: str, error: Exception) -> None:
        """Raise the error."""
        raise error


NOT_ISOLATED: Final = NoItemIsolation()


class Item:
    """The work on one item."""

    __slots__ = ("_isolation", "_item", "_part")

    def __init__(self, isolation: ItemIsolation, part: str, item: str) -> None:
        self._isolation = isolation
        self._part = part
        self._item = item

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        self._isolation.record(self._part, self._item, error)
        return True


def health_by_service(services: Iterable[Service]) -> list[tuple[str, HealthStatus]]:
    """Return the health of each service by its name; a service whose health can't be read is unhealthy."""
    isolation, found = ItemIsolation(), []
    for service in services:
        with isolation.item("health", service.name):
            found.append((service.name, service.health()))
    return [*found, *((it.item, HealthStatus(False, f"health can't be read: {it.error}")) for it in isolation.failures)]
