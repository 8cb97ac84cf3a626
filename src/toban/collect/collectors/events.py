"""What was told by events."""

import os
from datetime import datetime, timedelta
from typing import Final, Literal

from pydantic import PrivateAttr
from sqlalchemy import Connection

from toban.collect import backfill, repository
from toban.collect.collector import Collector, Look
from toban.collect.tools import Tools
from toban.core.config_types import Duration
from toban.core.errors import CollectError, StateError
from toban.core.metric_registry import Key, Meters
from toban.core.paths import this_machine
from toban.core.samples import Family, Type, milliseconds
from toban.instruments import metric_families as vocabulary
from toban.state import durable_counters

BOOK: Final = "events"
"""Whose numbers they are: `intake.events` keeps them."""

FAMILIES: Final = tuple(found for found in vars(vocabulary).values() if isinstance(found, Family))


class Events(Collector):
    """
    Hand on what was counted from business events: `POST /api/events`.

    They are rows in toban's state: what was accepted is there after a restart.
    """

    kind: Literal["events"] = "events"

    every: Duration = timedelta(seconds=15)

    _meters: Meters = PrivateAttr(default_factory=Meters)
    _known: set[Key] = PrivateAttr(default_factory=set)
    _looked: bool = PrivateAttr(default=False)

    @property
    def looks_at(self) -> str:
        """The machine toban runs on: it is the one that counts."""
        return this_machine(os.environ)

    async def collect(self, tools: Tools) -> Look:
        """Return where all numbers stand. Raises ``CollectError`` when state can't be read."""
        if tools.state is None:
            return Look()
        now = tools.clock.now()
        try:
            kept, since = await tools.state.transaction(lambda connection: standing(connection, now))
        except StateError as error:
            raise CollectError(f"{self.name}: {error}") from error
        self._take(kept)
        return Look(batches=self._meters.read(milliseconds(now), self.target, since))

    def _take(self, kept: Meters) -> None:
        """Take over what was kept; a series that came since the last look began at nought then."""
        for family, labels, values in kept.series():
            key = family, tuple(sorted(labels.items()))
            if self._looked and key not in self._known:
                find = self._meters.histogram if family.type is Type.HISTOGRAM else self._meters.number
                cell = find(family, **labels)
                cell.restore(values)
                cell.counted = True
            else:
                self._meters.restore(family, values, **labels)
            self._known.add(key)
        self._looked = True


def standing(connection: Connection, now: datetime) -> tuple[Meters, int]:
    """Return how the counters stand, and when that was told last (milliseconds), also by an earlier process."""
    position = backfill.position(connection, BOOK, now - timedelta(milliseconds=1), now)
    repository.note(connection, BOOK, repository.moved(position, now, 0, 0))
    return durable_counters.load(connection, BOOK, FAMILIES), milliseconds(position.until)
