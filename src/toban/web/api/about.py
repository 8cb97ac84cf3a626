"""An instance of toban in the API: its version, its sizes and its health."""

import platform
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import toban
from toban.access.permissions import Permission
from toban.core.actor import Actor
from toban.core.errors import TobanError
from toban.core.item_isolation import health_by_service
from toban.core.ports import Clock, InstantQueryEngine, Service
from toban.core.samples import milliseconds
from toban.web.api.api_endpoint import ApiEndpoint, NoParameters, ResponseModel
from toban.web.api.status import ProcessInfo
from toban.web.api.status_models import ServiceModel
from toban.web.endpoint import Endpoint

SIZES: Final = {
    "memory_bytes": "sum(process_resident_memory_bytes{job='toban'})",
    "samples_bytes": "sum(toban_tsdb_disk_bytes)",
    "series": "sum(toban_tsdb_series)",
}
"""The sizes that the newest samples of toban's own metrics tell."""


class AboutResponse(ResponseModel):
    """An instance of toban."""

    version: str
    python: str
    platform: str
    started: datetime
    data: str
    """The data folder."""
    state_bytes: int
    """The size of `toban.db`; 0 where state is in PostgreSQL."""
    samples_bytes: int | None
    memory_bytes: int | None
    series: int | None
    flags: dict[str, str]
    """Settings by the names of Prometheus' flags."""
    services: list[ServiceModel]


class AboutApi:
    """Shows this instance of toban."""

    def __init__(
        self,
        process: ProcessInfo,
        flags: Mapping[str, str],
        services: Sequence[Service],
        engine: InstantQueryEngine,
        clock: Clock,
    ) -> None:
        self._process = process
        self._flags = flags
        self._services = services
        self._engine = engine
        self._clock = clock

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [ApiEndpoint("/api/about", self.about, Permission.READ, NoParameters, AboutResponse)]

    async def about(self, _: NoParameters, actor: Actor) -> AboutResponse:
        """Return the version, the sizes and the health of this instance."""
        database = Path(self._process.data) / "toban.db"
        sizes = {name: await self._size(expression) for name, expression in SIZES.items()}
        return AboutResponse(
            version=toban.__version__,
            python=sys.version.split()[0],
            platform=platform.platform(),
            started=self._process.started,
            data=self._process.data,
            state_bytes=database.stat().st_size if database.exists() else 0,
            flags=dict(self._flags),
            services=[
                ServiceModel(name=name, state=it.state, message=it.message)
                for name, it in health_by_service(self._services)
            ],
            **sizes,
        )

    async def _size(self, expression: str) -> int | None:
        """Return a size; None while it can't be queried: the health of the store tells why."""
        try:
            result = await self._engine.instant(expression, milliseconds(self._clock.now()))
        except TobanError:
            return None
        return round(result.series[0].last) if result.series else None
