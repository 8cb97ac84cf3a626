"""Which indexes of a PostgreSQL are unused, or the same as others. Pure: rows of the catalogue in, findings out."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from toban.core.number_format import format_bytes
from toban.maintenance.task import Finding, Severity

OBSERVED: Final = timedelta(days=30)
"""How long statistics must have been counted for an index without a scan to count as unused."""


@dataclass(frozen=True, slots=True)
class Index:
    """
    An index as the catalogue has it.

    ``keys`` are its key columns, each with its operator class, collation and order; ``included`` its other columns;
    ``rest`` is its predicate as text. ``backs`` tells that a constraint needs it.
    """

    schema: str
    name: str
    table: str
    method: str
    keys: tuple[str, ...]
    included: tuple[str, ...]
    rest: str
    unique: bool
    backs: bool
    valid: bool
    scans: int
    bytes: int

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Index":
        """Return the index of a row of the catalogue."""
        fields = {key: row[key] for key in cls.__slots__ if key not in {"keys", "included"}}
        return cls(**fields, keys=tuple(row["keys"]), included=tuple(row["included"]))

    @property
    def title(self) -> str:
        """Its quoted name with its schema."""
        return f'"{self.schema}"."{self.name}"'

    @property
    def is_needed(self) -> bool:
        """Whether it does more than to be fast: it keeps rows unique, or a constraint needs it."""
        return self.unique or self.backs

    def repeats(self, other: "Index") -> bool:
        """Return whether it does nothing that another index doesn't do: the same keys, or the first of them."""
        if (self.table, self.method, self.rest) != (other.table, other.method, other.rest) or not other.valid:
            return False
        if self.keys == other.keys:
            return set(self.included) <= set(other.included)
        begins_so = self.method == "btree" and other.keys[: len(self.keys)] == self.keys
        return begins_so and not self.included


def unused(indexes: Sequence[Index], since: datetime | None, now: datetime, standbys: int) -> Iterator[Finding]:
    """Yield the indexes that nothing has read since the statistics were reset."""
    if since is None or now - since < OBSERVED:
        return
    elsewhere = (
        f"; {standbys} standby servers count by themselves: look there too"
        if standbys
        else "; a standby would count by itself"
    )
    for it in indexes:
        if it.scans == 0 and it.valid and not it.is_needed:
            text = (
                f"no query has used it since {since:%Y-%m-%d} ({format_bytes(it.bytes)}), and each write of "
                f"{it.table} writes it{elsewhere}"
            )
            yield Finding(f"unused {it.name}", text, Severity.INFO, f"DROP INDEX CONCURRENTLY {it.title}")


def repeated(indexes: Sequence[Index]) -> Iterator[Finding]:
    """Yield the indexes that another one makes superfluous; of two that are the same, one."""
    by_table = defaultdict[str, list[Index]](list)
    for it in indexes:
        by_table[it.table].append(it)
    dropped: set[str] = set()
    for it in sorted(indexes, key=lambda one: (-one.bytes, one.name)):
        others = (one for one in by_table[it.table] if one is not it and one.title not in dropped and it.repeats(one))
        other = None if it.is_needed else next(others, None)
        if other is None:
            continue
        dropped.add(it.title)
        same = it.keys == other.keys
        text = (
            f"it has the same columns as {other.name} of {it.table}"
            if same
            else f"its columns are the first of {other.name} of {it.table}"
        )
        text = f"{text} ({format_bytes(it.bytes)})"
        yield Finding(f"superfluous {it.name}", text, Severity.INFO, f"DROP INDEX CONCURRENTLY {it.title}")
