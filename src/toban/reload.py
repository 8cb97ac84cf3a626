"""Reload of the configuration while toban runs: an invalid one changes nothing."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final, Protocol, TypeVar

import structlog

from toban.core.actor import Actor
from toban.core.errors import SettingsError
from toban.core.garbage_collector import unfreeze
from toban.core.lifecycle import SERVICE_STOP_SECONDS
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock, HealthStatus, Service
from toban.core.samples import gauge
from toban.settings import Settings
from toban.state.audit_log import AuditEntry

log = structlog.get_logger("toban.reload")

SUCCESSFUL: Final = gauge(
    "toban_config_last_reload_successful", "Whether the last reload of the configuration succeeded (1) or not (0)."
)
AT: Final = gauge(
    "toban_config_last_reload_success_timestamp_seconds",
    "When the configuration was loaded successfully for the last time, in seconds since the epoch.",
    "seconds",
)

FIXED: Final = (
    "data",
    "state",
    "web.listen",
    "web.metrics",
    "metrics",
    "logs.retention",
    "logs.retention_size",
    "logs.synchronous",
)
"""Settings of files and sockets, which stay open: they change at a restart only."""


class Generation(Protocol):
    """The services of one configuration, as long as it is in force."""

    settings: Settings
    services: Sequence[Service]

    async def finish(self) -> None:
        """Wait for what must not be interrupted, before the services are cancelled."""
        ...

    async def close(self) -> None:
        """Close what only this generation used."""
        ...


G = TypeVar("G", bound=Generation)
Build = Callable[[Settings, G | None], Awaitable[G]]
TakeOver = Callable[[G, G | None], Awaitable[None]]


class ReloadService:
    """
    Runs one generation of services after the other.

    New settings are read and validated, and their services built, while the old ones run: an invalid configuration
    costs nothing. Then the old services end and the new ones begin; files, sockets, alerts and messages stay.
    """

    name = "reload"

    def __init__(
        self,
        read: Callable[[], Settings],
        audit: Callable[[AuditEntry], Awaitable[None]],
        clock: Clock,
        meters: MetricRegistry,
    ) -> None:
        """``read`` reads and validates the settings; ``audit`` writes to the audit log."""
        self.generation: Generation | None = None
        self._build: Build[Any]
        self._take_over: TakeOver[Any]
        self._read = read
        self._audit = audit
        self._clock = clock
        self._meters = meters
        self._requested = asyncio.Event()
        self._actors: dict[Actor, None] = {}
        """Who has requested a reload that has not begun."""
        self._waiting: list[asyncio.Future[str]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._error = ""

    async def begin(self, settings: Settings, build: Build[G], take_over: TakeOver[G]) -> G:
        """
        Build the first generation of services and return it.

        ``build`` builds a generation of some settings beside the one before, if there is one; ``take_over`` puts it in
        the other's place when that has ended. Raises ``SettingsError``.
        """
        self._build, self._take_over = build, take_over
        self.generation = first = await build(settings, None)
        await take_over(first, None)
        self._succeeded()
        return first

    async def close(self) -> None:
        """Close what the last generation used."""
        if self.generation:
            await self.generation.close()

    def request(self, actor: Actor) -> None:
        """Request a reload; one reload may serve several requests."""
        self._actors[actor] = None
        self._requested.set()

    async def reload(self, actor: Actor) -> str:
        """Reload the configuration; return what is wrong with it, nothing when it is in force."""
        result: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting.append(result)
        self.request(actor)
        return await result

    async def run(self) -> None:
        """Run the services of each generation, until cancelled or until one fails."""
        async with asyncio.TaskGroup() as group:
            self._start(group)
            while True:
                await self._requested.wait()
                self._requested.clear()
                waiting, self._waiting = self._waiting, []
                actors, self._actors = self._actors, {}
                self._error = await self._reload(group)
                facts = {"error": self._error} if self._error else {}
                for actor in actors:
                    await self._audit(AuditEntry(self._clock.now(), actor, "reloaded the configuration", facts))
                for result in waiting:
                    if not result.done():
                        result.set_result(self._error)

    def health(self) -> HealthStatus:
        """Return whether the configuration in the file is in force."""
        if self._error:
            return HealthStatus(False, f"configuration not reloaded: {self._error}")
        return HealthStatus(True, "configuration in force")

    def _start(self, group: asyncio.TaskGroup) -> None:
        services = self.generation.services if self.generation else ()
        self._tasks = [group.create_task(it.run(), name=it.name) for it in services]

    async def _reload(self, group: asyncio.TaskGroup) -> str:
        before = self.generation
        assert before is not None  # noqa: S101  # `begin` comes before `run`
        try:
            settings = await asyncio.to_thread(self._read)
            if fixed := list(unchangeable(before.settings, settings)):
                raise SettingsError(f"{', '.join(fixed)}: can't be changed while toban runs: restart it")
            after = await self._build(settings, before)
        except SettingsError as error:
            log.warning("configuration not reloaded", error=str(error))
            self._meters.set(SUCCESSFUL, 0)
            return str(error)
        except Exception as error:  # a bug costs the reload, not what runs
            log.exception("configuration not reloaded")
            self._meters.set(SUCCESSFUL, 0)
            return f"unexpected error: {type(error).__name__}: {error}"
        await before.finish()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=SERVICE_STOP_SECONDS)
            for task in late:
                log.warning("service does not stop", service=task.get_name())
        await self._take_over(after, before)
        self.generation = after
        self._start(group)
        await before.close()
        unfreeze()
        self._succeeded()
        log.info("configuration reloaded")
        return ""

    def _succeeded(self) -> None:
        self._meters.set(SUCCESSFUL, 1)
        self._meters.set(AT, self._clock.now().timestamp())


def unchangeable(before: Settings, after: Settings) -> Iterator[str]:
    """Return the settings that differ and change at a restart only."""
    one, other = before.model_dump(), after.model_dump()
    for name in FIXED:
        section, _, field = name.partition(".")
        old, new = (it[section][field] if field else it[section] for it in (one, other))
        if old != new and isinstance(old, dict):
            yield from (f"{name}.{key}" for key in old if old[key] != new.get(key))
        elif old != new:
            yield name
