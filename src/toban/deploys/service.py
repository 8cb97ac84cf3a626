"""Records deploys, notices those at Fly.io, and watches the time after each one."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import structlog
from sqlalchemy import Connection

from toban.core import input_limits
from toban.core.actor import TOBAN, Actor
from toban.core.deploys import TOPIC, Deploy
from toban.core.errors import InvalidCommandError, QueryError, StateError, StoreError
from toban.core.metric_registry import MetricRegistry
from toban.core.periodic import run_periodically
from toban.core.ports import Clock, HealthStatus, InstantQueryEngine
from toban.core.samples import counter, gauge, milliseconds
from toban.deploys import repository
from toban.deploys.guard import Regression, Traffic, regressions
from toban.deploys.settings import DeploySettings
from toban.state import audit_log, event_log
from toban.state.audit_log import AuditEntry
from toban.state.database import State

log = structlog.get_logger("toban.deploys")

INTERVAL: Final = timedelta(seconds=30)
SAME: Final = timedelta(minutes=10)
"""Within which the same version, however it is reported, is the same deploy."""
LEAST: Final = timedelta(minutes=3)
"""How long after a deploy the first comparison is made."""
KEPT: Final = timedelta(days=761)
RELEASES: Final = "max by (app) (fly_app_release)"

RECORDED: Final = counter("toban_deploys_total", "Deploys of the shop, by what reported them.", labels=("source",))
LAST: Final = gauge("toban_deploy_last_timestamp_seconds", "When something was deployed last.", "seconds")

ReportRegressions = Callable[[Deploy, Sequence[Regression], datetime], Awaitable[None]]
"""Lets an alert fire until a time: a deploy, and what became worse after it."""


@dataclass(frozen=True, slots=True)
class DeployPorts:
    """What deploys use under one configuration; ``on_events`` is called when there are new events."""

    settings: DeploySettings
    queries: InstantQueryEngine
    report: ReportRegressions
    on_events: Callable[[], None]


class DeployService:
    """Keeps deploys, and compares the time after the last one with the time before."""

    name = "deploys"

    def __init__(self, state: State, clock: Clock, meters: MetricRegistry) -> None:
        """It is configured before it runs."""
        self.ports: DeployPorts
        self.last: Deploy | None = None
        """The last deploy, as far as it is known."""
        self._state = state
        self._clock = clock
        self._meters = meters
        self._releases: dict[str, str] | None = None
        self._loaded = False

    def configure(self, ports: DeployPorts) -> None:
        """Go on with another configuration."""
        self.ports = ports

    async def run(self) -> None:
        """Watch until cancelled."""
        await run_periodically(self.name, INTERVAL, self.once, clock=self._clock, meters=self._meters)

    async def once(self) -> None:
        """Look for releases at Fly.io, and compare."""
        try:
            if not self._loaded:
                newest = await self.deploys(self._clock.now() - KEPT, self._clock.now(), 1)
                self._show(newest[0] if newest else None)
                await self._state.transaction(lambda connection: repository.prune(connection, self._clock.now() - KEPT))
                self._loaded = True
            await self._notice_releases()
            await self._compare()
        except (StateError, QueryError, StoreError) as error:
            log.debug("deploys not watched now", error=str(error))

    async def deploys(self, since: datetime, until: datetime, limit: int = 100) -> list[Deploy]:
        """Return the deploys between two times, newest first. Raises ``StateError``."""
        return await self._state.transaction(lambda connection: repository.deploys(connection, since, until, limit))

    async def record(self, deploy: Deploy, actor: Actor) -> bool:
        """
        Record a deploy; return whether it is a new one: several sources may report the same.

        Raises ``InvalidCommandError``, ``StateError``.
        """
        checked = _checked(deploy)
        if checked.at > self._clock.now() + SAME:
            raise InvalidCommandError("is in the future", "at")

        def work(connection: Connection) -> bool:
            known = repository.deploys(connection, checked.at - SAME, checked.at + SAME)
            if any(it.version == checked.version for it in known):
                return False
            repository.add(connection, checked)
            event_log.append(connection, TOPIC, checked.as_dict(), self._clock.now())
            facts = {"version": checked.version, "source": checked.source}
            audit_log.record(connection, AuditEntry(self._clock.now(), actor, "recorded a deploy", facts))
            return True

        is_new = await self._state.transaction(work)
        if is_new:
            self._meters.add(RECORDED, source=checked.source)
            log.info("deployed", version=checked.version, source=checked.source)
            if self.last is None or checked.at >= self.last.at:
                self._show(checked)
            self.ports.on_events()
        return is_new

    def _show(self, deploy: Deploy | None) -> None:
        self.last = deploy
        if deploy:
            self._meters.set(LAST, deploy.at.timestamp())

    async def _notice_releases(self) -> None:
        """Record a release at Fly.io that was not there when it was looked at last."""
        if not self.ports.settings.fly:
            return
        now = self._clock.now()
        found = await self.ports.queries.instant(RELEASES, milliseconds(now))
        releases = {it.labels.get("app", ""): f"{it.last:g}" for it in found.series}
        before, self._releases = self._releases, {**(self._releases or {}), **releases}
        for app, release in releases.items():
            if before is not None and app in before and before[app] != release:
                await self.record(Deploy(f"{app} v{release}", now, "fly", text=f"release {release} of {app}"), TOBAN)

    async def _compare(self) -> None:
        """Compare the time after the last deploy with as much time before it."""
        deploy, now, watch = self.last, self._clock.now(), self.ports.settings.watch
        if deploy is None or not LEAST <= now - deploy.at <= watch:
            return
        length = now - deploy.at
        after, before = await self._traffic(now, length), await self._traffic(deploy.at, length)
        week = timedelta(weeks=1)
        then, until = await self._traffic(deploy.at - week, length), await self._traffic(now - week, length)
        usual = until.orders / then.orders if until.orders is not None and then.orders else None
        if found := regressions(before, after, usual):
            log.warning("worse since the last deploy", version=deploy.version, findings=[it.text for it in found])
            await self.ports.report(deploy, found, now + 3 * INTERVAL)

    async def _traffic(self, end: datetime, length: timedelta) -> Traffic:
        span = f"{round(length.total_seconds())}s"
        return Traffic(
            await self._value(f"sum(increase(vendure_api_requests_total[{span}]))", end) or 0.0,
            (await self._value(f'sum(increase(vendure_api_requests_total{{status=~"5.."}}[{span}]))', end) or 0.0)
            + (await self._value(f'sum(increase(vendure_graphql_errors_total{{fault="shop"}}[{span}]))', end) or 0.0),
            await self._value(
                f"histogram_quantile(0.95, sum by (le) (rate(vendure_api_duration_seconds_bucket[{span}])))", end
            ),
            await self._value(f"sum(increase(vendure_orders_created_total[{span}]))", end),
        )

    async def _value(self, query: str, at: datetime) -> float | None:
        found = await self.ports.queries.instant(query, milliseconds(at))
        value = found.series[0].last if found.series else None
        return value if value is not None and value == value else None  # NaN is no value

    def health(self) -> HealthStatus:
        """Return what was deployed last."""
        if self.last is None:
            return HealthStatus(True, "no deploy is known", False)
        return HealthStatus(True, f"{self.last.version} at {self.last.at:%Y-%m-%d %H:%M} UTC")


def _checked(deploy: Deploy) -> Deploy:
    """Return a deploy whose texts can be stored. Raises ``InvalidCommandError``."""
    if not deploy.version.strip():
        raise InvalidCommandError("must not be empty", "version")
    limits = {"version": 200, "source": 50, "by": 200, "url": 2_000, "text": 2_000}
    for name, longest in limits.items():
        try:
            input_limits.checked_text(getattr(deploy, name), longest)
        except ValueError as error:
            raise InvalidCommandError(str(error), name) from error
    if deploy.url and not deploy.url.startswith(("https://", "http://")):
        raise InvalidCommandError("must begin with https://", "url")
    return deploy
