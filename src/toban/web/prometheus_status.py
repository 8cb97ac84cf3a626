"""The status endpoints of Prometheus' HTTP API: https://prometheus.io/docs/prometheus/latest/querying/api/."""

import asyncio
import os
import platform
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from itertools import islice
from typing import Any, Final

import yaml
from starlette.requests import Request
from starlette.responses import Response

import toban
from toban.access.permissions import Permission
from toban.core.labels import Labels
from toban.core.ports import Clock, SeriesSource
from toban.core.samples import milliseconds
from toban.web.endpoint import Endpoint
from toban.web.prometheus_api import Handler, success, with_prometheus_errors
from toban.web.query_parameters import FIRST, LAST, QueryParameters

TOP: Final = 10
"""The default number of rows in each list of the store's statistics."""


class PrometheusStatusApi:
    """Shows the version, the start time, the settings and the size of the store."""

    def __init__(
        self,
        started: datetime,
        flags: Mapping[str, str],
        source: SeriesSource,
        clock: Clock,
        corruptions: Callable[[], float],
    ) -> None:
        """``corruptions`` returns how many corruptions were found on disk."""
        self._corruptions = corruptions
        self._started = started
        self._flags = flags
        self._source = source
        self._clock = clock

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        handlers: dict[str, Handler] = {
            "buildinfo": self.build,
            "runtimeinfo": self.runtime,
            "flags": self.flags,
            "config": self.configuration,
            "tsdb": self.tsdb,
        }
        routes = [
            Endpoint(f"/api/v1/status/{name}", with_prometheus_errors(handler), Permission.READ)
            for name, handler in handlers.items()
        ]
        return [*routes, Endpoint("/api/v1/alertmanagers", self.alertmanagers, Permission.READ)]

    async def build(self, parameters: QueryParameters) -> Response:
        """Return the version."""
        return success(
            {
                "application": "toban",
                "version": toban.__version__,
                "revision": "",
                "branch": "",
                "buildUser": "",
                "buildDate": "",
                "goVersion": f"python{platform.python_version()}",
            }
        )

    async def runtime(self, parameters: QueryParameters) -> Response:
        """Return facts about the process."""
        started = self._started.isoformat().replace("+00:00", "Z")
        return success(
            {
                "startTime": started,
                "CWD": os.getcwd(),  # noqa: PTH109  # a Path would be written as text again
                "reloadConfigSuccess": True,
                "lastConfigTime": started,
                "corruptionCount": int(self._corruptions()),
                "goroutineCount": threading.active_count() + len(asyncio.all_tasks()),
                "GOMAXPROCS": os.cpu_count() or 1,
                "GOGC": "",
                "GODEBUG": "",
                "storageRetention": self._flags["storage.tsdb.retention.time"],
            }
        )

    async def flags(self, parameters: QueryParameters) -> Response:
        """Return the settings that Prometheus has as flags."""
        return success(dict(self._flags))

    async def configuration(self, parameters: QueryParameters) -> Response:
        """Return the global section of Prometheus' configuration; the rest of `toban.yaml` may hold secrets."""
        return success(
            {"yaml": yaml.safe_dump({"global": {"evaluation_interval": self._flags["evaluation_interval"]}})}
        )

    async def tsdb(self, parameters: QueryParameters) -> Response:
        """Return the metrics and labels with the most series."""
        top = parameters.limit() or TOP
        series = await asyncio.to_thread(self._source.series, (), FIRST, LAST)
        return success(await asyncio.to_thread(self._statistics, series, top))

    def _statistics(self, series: Iterable[Labels], top: int) -> dict[str, Any]:
        names, pairs, size = Counter[str](), Counter[tuple[str, str]](), Counter[str]()
        many = 0
        for labels in series:
            many += 1
            names[labels.name] += 1
            pairs.update(labels.items())
        for name, value in pairs:
            size[name] += len(value.encode())
        values = Counter(name for name, _ in pairs)
        oldest = self._source.oldest(())
        return {
            "headStats": {
                "numSeries": many,
                "numLabelPairs": len(pairs),
                "chunkCount": many,  # the head has one column for each series
                "minTime": 2**63 - 1 if oldest is None else oldest,
                "maxTime": -(2**63) if oldest is None else milliseconds(self._clock.now()),
            },
            "seriesCountByMetricName": _rows(names.most_common(), top),
            "labelValueCountByLabelName": _rows(values.most_common(), top),
            "memoryInBytesByLabelName": _rows(size.most_common(), top),
            "seriesCountByLabelValuePair": _rows(
                ((f"{name}={value}", count) for (name, value), count in pairs.most_common()), top
            ),
        }

    async def alertmanagers(self, request: Request) -> Response:
        """Return the Alertmanagers that are notified: toban is its own."""
        url = f"{str(request.base_url).rstrip('/')}/api/v2/alerts"
        return success({"activeAlertmanagers": [{"url": url}], "droppedAlertmanagers": []})


def _rows(pairs: Iterable[tuple[str, int]], top: int) -> list[dict[str, Any]]:
    return [{"name": name, "value": value} for name, value in islice(pairs, top)]
