"""What toban counts about itself."""

from collections.abc import Iterator

from toban.core.samples import Family, Sample, Type


class Meters:
    """
    toban's own numbers, kept in memory and read by its own collector.

    A counter that is new is shown as nought once before its first value, so that ``rate`` and ``increase``
    see its first event: for them a series that is born at 1 never grew.
    """

    def __init__(self) -> None:
        self._values: dict[tuple[Family, tuple[tuple[str, str], ...]], float] = {}
        self._shown: set[tuple[Family, tuple[tuple[str, str], ...]]] = set()

    def add(self, family: Family, amount: float = 1, /, **labels: str) -> None:
        """Count something that happened."""
        key = family, tuple(sorted(labels.items()))
        self._values[key] = self._values.get(key, 0.0) + amount

    def set(self, family: Family, value: float, /, **labels: str) -> None:
        """Note how something stands."""
        self._values[family, tuple(sorted(labels.items()))] = float(value)

    def value(self, family: Family, /, **labels: str) -> float:
        """Return where a number stands, nought if it never moved."""
        return self._values.get((family, tuple(sorted(labels.items()))), 0.0)

    def samples(self) -> Iterator[Sample]:
        """Read all numbers."""
        for key, value in list(self._values.items()):
            family, labels = key
            unseen = family.type is Type.COUNTER and key not in self._shown
            self._shown.add(key)
            yield Sample(family, 0.0 if unseen else value, dict(labels))
