"""Which source has brought each of the newest lines: kept beside them, so that copies are known after a restart."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, Final

import orjson
import structlog

from toban.logs.deduplication import Deduplicator
from toban.logs.line_store import LineStore

log = structlog.get_logger("toban.logs")

PREFIX: Final = "sources:"
"""The beginning of the names of the cursors that hold them, one for each of the newest transactions."""

TRANSACTIONS: Final = 32
MAX_RUNS: Final = 200
"""Changes of the source within one transaction that are kept."""

MAX_LINES: Final = 5_000
"""Lines that are remembered after a restart."""

Origin = tuple[str, bool]
"""The source of a line, and whether its time is exact."""


class RecentSources:
    """The sources of the lines of the newest transactions, as cursors that are stored with these lines."""

    def __init__(self) -> None:
        self._transactions = 0

    def cursors(self, first: int, origins: Sequence[Origin]) -> Mapping[str, str]:
        """Return the cursor of a transaction whose lines have these origins, by number, from ``first`` on."""
        if not origins:
            return {}
        runs = [(source, is_exact, len(list(lines))) for (source, is_exact), lines in groupby(origins)]
        kept = runs[-MAX_RUNS:]
        skipped = len(origins) - sum(count for _, _, count in kept)
        slot = self._transactions % TRANSACTIONS
        self._transactions += 1
        return {f"{PREFIX}{slot}": orjson.dumps({"first": first + skipped, "runs": kept}).decode()}


def restored(store: LineStore) -> Deduplicator:
    """Return a deduplicator that remembers the newest lines of a store. Raises ``StoreError``."""
    deduplicator = Deduplicator()
    origins = dict[int, Origin]()
    for text in store.cursors(PREFIX).values():
        try:
            origins.update(_numbered(orjson.loads(text)))
        except (ValueError, TypeError, KeyError):  # of another version: these lines are not remembered
            log.warning("sources of log lines not readable", cursor=text[:200])
    first = store.report().next_number - MAX_LINES
    numbers = [number for number in origins if number >= first]
    for stored in store.numbered(min(numbers), MAX_LINES) if numbers else ():
        if origin := origins.get(stored.position.number):
            source, is_exact = origin
            if is_exact:
                deduplicator.remember(source, stored.line)
    return deduplicator


def _numbered(transaction: Any) -> Mapping[int, Origin]:
    found, number = dict[int, Origin](), int(transaction["first"])
    for source, is_exact, count in transaction["runs"]:
        found.update(dict.fromkeys(range(number, number + min(int(count), MAX_LINES * 10)), (str(source), is_exact)))
        number += int(count)
    return found
