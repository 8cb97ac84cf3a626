"""What was told by events."""

import os
from datetime import datetime, timedelta
from typing import Final, Literal

from pydantic import PrivateAttr
from sqlalchemy import Connection

from toban.collect import backfill, repository
from toban.collect.collector import Collector, ScrapeResult
from toban.collect.tools import CollectorTools
from toban.core.config_types import Duration
from toban.core.errors import CollectError, StateError
from toban.core.metric_registry import Key, MetricRegistry
from toban.core.paths import instance_name
from toban.core.samples import MetricFamily, MetricType, milliseconds
from toban.instruments import metric_families as vocabulary
from toban.state import durable_counters

BOOK: Final = "events"
"""Whose numbers they are: `intake.events` keeps them."""

FAMILIES: Final = tuple(found for found in vars(vocabulary).values() if isinstance(found, MetricFamily))


class Events(Collector):
    """
    Hand on what was counted from business events: `POST /api/events`.

    They are rows in toban's state: what was accepted is there after a restart.
    """

    kind: Literal["events"] = "events"

    interval: Duration = timedelta(seconds=15)

    _meters: MetricRegistry = PrivateAttr(default_factory=MetricRegistry)
    _known: set[Key] = PrivateAttr(default_factory=set)
    _looked: bool = PrivateAttr(default=False)

    @property
    def default_instance(self) -> str:
        """The machine toban runs on: it is the one that counts."""
        return instance_name(os.environ)

    async def collect(self, tools: CollectorTools) -> ScrapeResult:
        """Return where all numbers stand. Raises ``CollectError`` when state can't be read."""
        if tools.state is None:
            return ScrapeResult()
        now = tools.clock.now()
        try:
            kept, since = await tools.state.transaction(lambda connection: standing(connection, now))
        except StateError as error:
            raise CollectError(f"{self.name}: {error}") from error
        self._take(kept)
        return ScrapeResult(batches=self._meters.read(milliseconds(now), self.target, since))

    def _take(self, kept: MetricRegistry) -> None:
        """Take over what was kept; a series that came since the last look began at nought then."""
        for family, labels, values in kept.series():
            key = family, tuple(sorted(labels.items()))
            if self._looked and key not in self._known:
                find = self._meters.histogram if family.type is MetricType.HISTOGRAM else self._meters.scalar
                cell = find(family, **labels)
                cell.restore(values)
                cell.counted = True
            else:
                self._meters.restore(family, values, **labels)
            self._known.add(key)
        self._looked = True


def standing(connection: Connection, now: datetime) -> tuple[MetricRegistry, int]:
    """Return how the counters stand, and when that was told last (milliseconds), also by an earlier process."""
    position = backfill.position(connection, BOOK, now - timedelta(milliseconds=1), now)
    repository.save_position(connection, BOOK, repository.moved_position(position, now, 0, 0))
    return durable_counters.load(connection, BOOK, FAMILIES), milliseconds(position.until)
