"""An instance of toban in its own API: its version and size, its settings, and the audit log."""

import platform
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import Field

import toban
from toban.access.permissions import Permission
from toban.core.actor import Actor
from toban.core.effective_settings import EffectiveSetting
from toban.core.errors import TobanError
from toban.core.item_isolation import health_by_service
from toban.core.ports import Clock, InstantQueryEngine, Service
from toban.core.samples import milliseconds
from toban.state.audit_report import AuditEntry
from toban.web.api.api_endpoint import ApiEndpoint, NoParameters, RequestModel, ResponseModel
from toban.web.api.models import OptionalName
from toban.web.api.status import ProcessInfo
from toban.web.api.status_models import ServiceModel
from toban.web.endpoint import Endpoint

SIZES: Final = {
    "memory_bytes": "sum(process_resident_memory_bytes{job='toban'})",
    "samples_bytes": "sum(toban_tsdb_disk_bytes)",
    "series": "sum(toban_tsdb_series)",
}
"""The sizes that the newest samples of toban's own metrics tell."""


class SettingModel(ResponseModel):
    """A setting that is in force."""

    path: str
    """Like `channels.ops.kind`."""
    value: str
    """Without secrets."""
    origin: str
    """A line of the file, a variable of the environment, an option, or `default`."""
    is_default: bool


class SettingsResponse(ResponseModel):
    """All settings."""

    settings: list[SettingModel]


class AuditRequest(RequestModel):
    """Which entries of the audit log are returned."""

    limit: Annotated[int, Field(ge=1, le=1_000)] = 100
    before: Annotated[int, Field(ge=1, le=2**63 - 1)] | None = None
    """Only entries with a lower number."""
    actor: OptionalName = ""
    """Only what somebody of this name did."""


class AuditEntryModel(ResponseModel):
    """Who did what, when and from where."""

    id: int
    at: datetime
    actor: str
    via: str
    """How the actor was authenticated: `local socket`, `token`, `session`, …"""
    address: str
    """From where; empty for the local socket."""
    action: str
    facts: dict[str, Any]


class AuditResponse(ResponseModel):
    """Entries of the audit log, newest first."""

    entries: list[AuditEntryModel]


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


class InstanceApi:
    """Shows an instance of toban."""

    def __init__(
        self,
        process: ProcessInfo,
        flags: Mapping[str, str],
        settings: Callable[[], Sequence[EffectiveSetting]],
        audit_log: Callable[[int, int | None, str], Awaitable[Sequence[AuditEntry]]],
        services: Sequence[Service],
        engine: InstantQueryEngine,
        clock: Clock,
    ) -> None:
        self._process = process
        self._flags = flags
        self._settings = settings
        self._audit_log = audit_log
        self._services = services
        self._engine = engine
        self._clock = clock

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        read = Permission.READ
        return [
            ApiEndpoint("/api/settings", self.settings, read, NoParameters, SettingsResponse),
            ApiEndpoint("/api/audit", self.audit, read, AuditRequest, AuditResponse),
            ApiEndpoint("/api/about", self.about, read, NoParameters, AboutResponse),
        ]

    async def settings(self, _: NoParameters, actor: Actor) -> SettingsResponse:
        """Return the settings that are in force, without secrets."""
        return SettingsResponse(settings=[SettingModel.model_validate(it) for it in self._settings()])

    async def audit(self, request: AuditRequest, actor: Actor) -> AuditResponse:
        """Return the newest entries of the audit log."""
        entries = await self._audit_log(request.limit, request.before, request.actor)
        return AuditResponse(
            entries=[
                AuditEntryModel(
                    id=it.id,
                    at=it.at,
                    actor=it.actor.name,
                    via=it.actor.via,
                    address=it.actor.address,
                    action=it.action,
                    facts=dict(it.facts),
                )
                for it in entries
            ]
        )

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
