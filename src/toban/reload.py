"""Reads the configuration again while toban runs: what is wrong with it changes nothing."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final, Protocol

import structlog

from toban.core.errors import SettingsError
from toban.core.lifecycle import SERVICE_STOP_SECONDS
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock, HealthStatus, Service
from toban.core.samples import gauge
from toban.settings import Settings

log = structlog.get_logger("toban.reload")

SUCCESSFUL: Final = gauge(
    "toban_config_last_reload_successful", "Whether the configuration could be read when it was read last (1) or not."
)
AT: Final = gauge(
    "toban_config_last_reload_success_timestamp_seconds",
    "When the configuration was read successfully for the last time, in seconds since the epoch.",
    "seconds",
)

FIXED: Final = ("data", "state", "web.listen", "web.metrics", "metrics")
"""Settings of what stays open: files and sockets."""


class Generation(Protocol):
    """The services that depend on settings, for as long as these are in force."""

    settings: Settings
    services: Sequence[Service]

    async def finish(self) -> None:
        """Let come to its end what can't be broken off, before the services are cancelled."""
        ...

    async def close(self) -> None:
        """Close what this generation alone needed."""
        ...


class ReloadService:
    """
    Runs one generation of services after the other.

    New settings are read and checked, and their services built, while the old ones run: a mistake costs nothing. Then
    the old ones end and the new ones begin; files, sockets, alerts and messages stay.
    """

    name = "reload"

    def __init__(
        self,
        read: Callable[[], Settings],
        build: Callable[[Settings, Any], Awaitable[Generation]],
        take_over: Callable[[Any, Any], Awaitable[None]],
        clock: Clock,
        meters: MetricRegistry,
    ) -> None:
        """
        ``read`` reads and checks the settings; ``build`` makes a generation of them, beside the one before if there is
        one; ``take_over`` puts it in the other's place when that has ended.
        """
        self.generation: Generation | None = None
        self._read = read
        self._build = build
        self._take_over = take_over
        self._clock = clock
        self._meters = meters
        self._wanted = asyncio.Event()
        self._waiting: list[asyncio.Future[str]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._trouble = ""

    def begin(self, first: Generation) -> None:
        """Take the first generation."""
        self.generation = first
        self._succeeded()

    async def close(self) -> None:
        """Close what the generation needed that was the last."""
        if self.generation:
            await self.generation.close()

    def request(self) -> None:
        """Read the configuration again soon; several requests may be answered at once."""
        self._wanted.set()

    async def reload(self) -> str:
        """Read the configuration again; return what is wrong with it, nothing when it is in force."""
        answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        self.request()
        return await answer

    async def run(self) -> None:
        """Run the services of each generation, until cancelled or until one breaks."""
        async with asyncio.TaskGroup() as group:
            self._start(group)
            while True:
                await self._wanted.wait()
                self._wanted.clear()
                waiting, self._waiting = self._waiting, []
                self._trouble = await self._reload(group)
                for answer in waiting:
                    if not answer.done():
                        answer.set_result(self._trouble)

    def health(self) -> HealthStatus:
        """Say whether the configuration that is in force is the one in the file."""
        if self._trouble:
            return HealthStatus(False, f"the configuration was not reloaded: {self._trouble}")
        return HealthStatus(True, "the configuration is in force")

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
            log.warning("the configuration was not reloaded", error=str(error))
            self._meters.set(SUCCESSFUL, 0)
            return str(error)
        except Exception as error:  # a fault in reading costs the reload, not what runs
            log.exception("the configuration was not reloaded")
            self._meters.set(SUCCESSFUL, 0)
            return f"toban has a fault: {type(error).__name__}: {error}"
        await before.finish()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=SERVICE_STOP_SECONDS)
            for task in late:
                log.warning("a service does not end", service=task.get_name())
        await self._take_over(after, before)
        self.generation = after
        self._start(group)
        await before.close()
        self._succeeded()
        log.info("the configuration was reloaded")
        return ""

    def _succeeded(self) -> None:
        self._meters.set(SUCCESSFUL, 1)
        self._meters.set(AT, self._clock.now().timestamp())


def unchangeable(before: Settings, after: Settings) -> Iterator[str]:
    """Return the settings that differ and count from a start only."""
    one, other = before.model_dump(), after.model_dump()
    for name in FIXED:
        section, _, field = name.partition(".")
        old, new = (it[section][field] if field else it[section] for it in (one, other))
        if old != new and isinstance(old, dict):
            yield from (f"{name}.{key}" for key in old if old[key] != new.get(key))
        elif old != new:
            yield name
