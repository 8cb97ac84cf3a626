"""The collector `events`: counters of business events."""

import os
from datetime import datetime, timedelta
from typing import Final, Literal, Protocol

from sqlalchemy import Connection

from toban.collect import backfill, repository
from toban.collect.collector import Collector, Scraper, ScrapeResult
from toban.collect.tools import HasClock, HasState
from toban.core.config_types import Duration
from toban.core.errors import CollectError, StateError
from toban.core.metric_registry import Key, MetricRegistry
from toban.core.paths import instance_name
from toban.core.samples import MetricFamily, MetricType, milliseconds
from toban.instruments import metric_families as vocabulary
from toban.state import durable_counters

COUNTERS: Final = "events"
"""The name under which `ingest.business_events` stores the counters."""

FAMILIES: Final = tuple(found for found in vars(vocabulary).values() if isinstance(found, MetricFamily))


class Tools(HasClock, HasState, Protocol):
    """What the collector uses."""


class Events(Collector):
    """
    Expose the counters of business events: `POST /api/events`.

    They are rows in toban's state: what was accepted is there after a restart.
    """

    kind: Literal["events"] = "events"

    interval: Duration = timedelta(seconds=15)

    @property
    def default_instance(self) -> str:
        """The machine toban runs on: it is the one that counts."""
        return instance_name(os.environ)

    def open(self, tools: Tools) -> Scraper:
        """Keep the series that are known."""
        return EventsScraper(self, tools)


class EventsScraper(Scraper):
    """Reads the counters from state."""

    def __init__(self, collector: Events, tools: Tools) -> None:
        self._collector = collector
        self._clock = tools.clock
        self._state = tools.state
        self._meters = MetricRegistry()
        self._known: set[Key] = set()
        self._collected = False

    async def collect(self) -> ScrapeResult:
        """Return all counters. Raises ``CollectError`` when state can't be read."""
        if self._state is None:
            return ScrapeResult()
        now = self._clock.now()
        try:
            stored, since = await self._state.transaction(lambda connection: read_counters(connection, now))
        except StateError as error:
            raise CollectError(f"{self._collector.name}: {error}") from error
        self._restore(stored)
        return ScrapeResult(batches=self._meters.read(milliseconds(now), self._collector.target, since))

    def _restore(self, stored: MetricRegistry) -> None:
        """Take the stored values; a series that is new since the last collection was zero then."""
        for family, labels, values in stored.series():
            key = family, tuple(sorted(labels.items()))
            if self._collected and key not in self._known:
                find = self._meters.histogram if family.type is MetricType.HISTOGRAM else self._meters.scalar
                cell = find(family, **labels)
                cell.restore(values)
                cell.counted = True
            else:
                self._meters.restore(family, values, **labels)
            self._known.add(key)
        self._collected = True


def read_counters(connection: Connection, now: datetime) -> tuple[MetricRegistry, int]:
    """Return the counters, and when they were read last (milliseconds), also by an earlier process."""
    position = backfill.position(connection, COUNTERS, now - timedelta(milliseconds=1), now)
    repository.save_position(connection, COUNTERS, repository.moved_position(position, now, 0, 0))
    return durable_counters.load(connection, COUNTERS, FAMILIES), milliseconds(position.until)
