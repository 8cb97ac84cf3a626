"""Isolation of items: what one alert, silence or page part breaks costs that item alone, and is reported."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final

from toban.core.ports import HealthStatus, Service


@dataclass(frozen=True, slots=True)
class ItemFailure:
    """That an item was skipped: of which part (``alert``, ``silence``), which one, and why."""

    part: str
    item: str
    error: str
    cause: Exception | None = field(default=None, compare=False, repr=False)


class ItemIsolation:
    """
    Runs the work on each item of a whole, and collects the items that failed instead of raising.

    The sibling of `core.fence` for values: it logs nothing and may be used in pure functions. Who uses it hands
    ``failures`` to `state.quarantine`, which counts and reports them. Only work that has no effects may be isolated;
    cancellation passes.
    """

    def __init__(self) -> None:
        self._failures: dict[tuple[str, str], ItemFailure] = {}

    @property
    def failures(self) -> Sequence[ItemFailure]:
        """What failed, each item once."""
        return tuple(self._failures.values())

    def failed(self, part: str, item: str) -> bool:
        """Whether an item failed before."""
        return (part, item) in self._failures

    def item(self, part: str, item: str) -> "Item":
        """Return a block in which one item is worked on: an exception ends the block, not its caller."""
        return Item(self, part, item)

    def record(self, part: str, item: str, error: Exception) -> None:
        """Note that an item failed."""
        says = f"{type(error).__name__}: {error}"[:500].encode("utf-8", "replace").decode()
        self._failures.setdefault((part, item), ItemFailure(part, item[:200], says, error))


class NoItemIsolation(ItemIsolation):
    """For callers who have nobody to report to: what fails raises."""

    def record(self, part: str, item: str, error: Exception) -> None:
        """Raise it."""
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
        self, sort: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        if not isinstance(error, Exception):
            return False
        self._isolation.record(self._part, self._item, error)
        return True


def health_by_service(services: Iterable[Service]) -> list[tuple[str, HealthStatus]]:
    """Return the health of each service by its name; one that can't tell it is not well."""
    isolation, found = ItemIsolation(), []
    for service in services:
        with isolation.item("health", service.name):
            found.append((service.name, service.health()))
    return [*found, *((it.item, HealthStatus(False, f"can't tell how it is: {it.error}")) for it in isolation.failures)]
