"""What stays open through reloads, and what is built anew of each settings."""

import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

import httpx2
from starlette.types import ASGIApp

import toban
from toban.alerting.alert_store import Ledger
from toban.alerting.external_alerts import Outside
from toban.alerting.remote_engine import Elsewhere
from toban.alerting.service import Evaluating
from toban.alerting.templating.template import External
from toban.collect import default_collectors
from toban.collect.payment_declines import Declining
from toban.collect.service import Collecting
from toban.collect.tools import Tools
from toban.core.item_isolation import conditions
from toban.core.lifecycle import Resources
from toban.core.metric_registry import Meters
from toban.core.paths import names_of_this_machine
from toban.core.ports import Clock, LineSink, Service
from toban.health.checks import checks
from toban.health.service import Health
from toban.ingest.business_events import Events
from toban.ingest.otlp_receiver import Taking
from toban.ingest.remote_write_receiver import Written
from toban.logs.fly_log_stream import FlyLogs
from toban.logs.recent_lines import Recent
from toban.notify.channel import Tools as NotifyTools
from toban.notify.default_inhibitions import INHIBITIONS
from toban.notify.drill import Drilling
from toban.notify.heartbeat import Beating
from toban.notify.muting import Inhibiting, Windows
from toban.notify.pipeline import House
from toban.notify.routing import Routing
from toban.notify.service import Dispatching
from toban.promql.executor import Querying
from toban.promql.tiered_engine import Beyond
from toban.remote.query_client import Asking
from toban.settings import Settings, rules
from toban.shop.connections import lent
from toban.state.database import State
from toban.tsdb.store import CORRUPTIONS, Store
from toban.web.alertmanager_api import Alertmanager
from toban.web.alerts_api import Alerts
from toban.web.application import application, metrics_alone
from toban.web.http_server import Serving
from toban.web.ingest import Doors
from toban.web.logs_api import Lines
from toban.web.prometheus_rules import Rules
from toban.web.prometheus_status import Runtime
from toban.web.quarantine_api import Quarantined
from toban.web.reload_api import Reload
from toban.web.status_api import About, Overview, Own
from toban.web.uptimerobot_webhook import Uptimerobot

AGENT: Final = f"toban/{toban.__version__}"
"""How toban's own requests are known in the shop's logs."""


@dataclass(slots=True)
class Generation:
    """The services that depend on settings, and what they are asked."""

    settings: Settings
    services: Sequence[Service]
    known: list[Service]
    """All that run while it does, for those who tell how they are."""
    collecting: Collecting
    evaluating: Evaluating
    taking: Taking
    tools: Tools
    shop: AsyncExitStack
    """Closes the connections to the shop; handed on while these stay the same."""
    app: ASGIApp
    metrics_app: ASGIApp | None
    overview: Callable[[], Awaitable[Overview]]

    async def finish(self) -> None:
        """Let what is being judged come to its end."""
        await self.evaluating.finish()

    async def close(self) -> None:
        """Close the connections to the shop, unless they were handed on."""
        await self.shop.aclose()


@dataclass(slots=True)
class Ground:
    """What stays open as long as toban runs: files, sockets, alerts, messages, and what was pushed lately."""

    about: About
    tools: Tools
    state: State
    store: Store
    engine: Querying
    judge: Querying
    examiner: Querying
    recent: Recent
    declines: Declining
    dispatching: Dispatching
    ledger: Ledger
    outside: Outside
    asking: Asking | None
    has_metrics_alone: bool
    services: list[Service] = field(default_factory=list)
    serving: Serving | None = None
    reload: Callable[[], Awaitable[str]] | None = None

    async def build(self, settings: Settings, before: Generation | None) -> Generation:
        """
        Build the services of some settings, and begin nothing; what the generation before has alike is used again.

        Raises ``SettingsError``.
        """
        clock, meters, state, dispatching = self.tools.clock, self.tools.meters, self.state, self.dispatching
        groups = rules(settings)
        stack = Resources()
        if before and before.settings.shop == settings.shop:
            tools = before.tools
        else:
            tools = replace(self.tools, shop=await stack.enter_async_context(lent(settings.shop)))
        watched = before.collecting if before and before.tools is tools else None
        collecting = Collecting(
            default_collectors.collectors(settings.collect, settings.shop), self.store, tools, watched
        )
        health = Health(*checks(settings.shop), self.examiner, clock)
        if before and before.settings.shop.services == settings.shop.services:
            taking = before.taking
        else:
            taking = Taking(tools.pushed, settings.shop.services, self.recent, clock, meters, self.declines)
        known: list[Service] = [*self.services, collecting, taking]
        known += streams(settings, self.recent, clock, meters)
        evaluating = Evaluating(
            groups,
            settings.alerting.every,
            self.ledger,
            self.judge,
            self.store,
            state,
            clock,
            meters,
            conditions=lambda: conditions(it for it in known if it.name != Evaluating.name),
            outside=Elsewhere(self.asking, settings.metrics.lookback) if self.asking else None,
            first_look=None if before else collecting.first_look,
            targets=[target.name for target in collecting.targets()],
            last_error=collecting.last_error,
            external=External(
                (settings.notify.address or f"http://{settings.web.listen}").rstrip("/"),
                settings.metrics.remote.labels if settings.metrics.remote else {},
            ),
        )
        known.append(evaluating)
        if settings.notify.heartbeat:

            def missing() -> str:
                if not evaluating.judging:
                    return "rules are not judged in time"
                if not dispatching.leaving:
                    return "messages do not leave"
                return "" if state.health().ok else "state is away"

            known.append(Beating(settings.notify.heartbeat, missing, tools.http, clock, meters))
        drilling = _drilling(settings, dispatching, state, clock, meters)
        known.append(drilling)
        own = Own(
            self.about,
            self.ledger.alerts,
            dispatching.suppressed,
            collecting.targets,
            health,
            known,
            state.quarantine,
        )
        written = Written(self.store, settings.metrics, clock, meters)
        doors = Doors(taking, Events(state, clock, meters, self.declines), written, settings.web.body_limit)
        alerts = Alerts(evaluating, dispatching, drilling, state, clock)
        speaking = Alertmanager(evaluating, self.outside, dispatching, alerts, state, clock)
        pushed = [*doors.routes(), *Lines(self.recent).routes()]
        pushed += [*Rules(evaluating).routes(), *alerts.routes(), *speaking.routes()]
        pushed += [*Uptimerobot(self.outside, clock).routes(), *Quarantined(state, clock).routes()]
        if self.reload:
            pushed += Reload(self.reload).routes()
        answering = Beyond(self.engine, self.asking, self.store.oldest) if self.asking else self.engine
        flags = settings.flags(self.engine.engine.limits)
        runtime = Runtime(self.about.started, flags, self.store, clock, lambda: meters.value(CORRUPTIONS))
        address = settings.notify.address or ""
        app = application(
            own, health, self.engine, answering, self.store, collecting, known, clock, runtime, pushed, address
        )
        alone = metrics_alone(collecting, self.engine, self.store, clock) if self.has_metrics_alone else None
        services = known[len(self.services) :]
        return Generation(
            settings, services, known, collecting, evaluating, taking, tools, stack, app, alone, own.overview
        )

    async def take_over(self, after: Generation, before: Generation) -> None:
        """Put a generation in the place of the one before, whose services have ended; the next thing is to run it."""
        if after.tools is before.tools:
            after.shop, before.shop = before.shop, after.shop
        settings = after.settings
        await self.dispatching.configure(house(settings), settings.channels, tools_of_channels(settings, after.tools))
        await after.evaluating.open(before.evaluating)
        await after.collecting.follow(before.collecting)
        if self.serving:
            self.serving.configure(after.app, settings.web, hosts(settings), after.metrics_app)


def hosts(settings: Settings) -> list[str]:
    """Return the names under which toban is reached, beside those that the configuration lists."""
    address = urlsplit(settings.notify.address or "").hostname
    return [*names_of_this_machine(os.environ), *([address] if address else [])]


def streams(settings: Settings, lines: LineSink, clock: Clock, meters: Meters) -> list[FlyLogs]:
    """Return what brings log lines that nobody pushes."""
    shop, here = settings.shop, os.environ.get("FLY_APP_NAME", "")
    if not (shop.fly_token and shop.fly_org) or not (bool(here) if settings.logs.fly is None else settings.logs.fly):
        return []
    token = shop.fly_token.get_secret_value()
    return [FlyLogs(settings.logs.fly_server, shop.fly_org, token, shop.fly_apps, here, lines, clock, meters)]


def _drilling(settings: Settings, dispatching: Dispatching, state: State, clock: Clock, meters: Meters) -> Drilling:
    notify = settings.notify
    quiet = [name for name, channel in settings.channels.items() if not channel.pages]
    channels = notify.drill.channels or tuple(quiet)
    return Drilling(notify.drill, channels, ZoneInfo(notify.timezone), dispatching.told, state, clock, meters)


def house(settings: Settings) -> House:
    """Return what decides who is told."""
    notify = settings.notify
    return House(
        notify,
        Routing(notify, {name: channel.pages for name, channel in settings.channels.items()}),
        Inhibiting([*INHIBITIONS, *notify.inhibit]),
        Windows(notify),
    )


def tools_of_channels(settings: Settings, tools: Tools) -> NotifyTools:
    """Return what channels are lent."""
    return NotifyTools(tools.http, tools.clock, settings.notify.address or "", settings.shop.title)


def client() -> httpx2.AsyncClient:
    """Return the one HTTP client."""
    return httpx2.AsyncClient(headers={"user-agent": AGENT}, timeout=10)


async def lent_tools(stack: AsyncExitStack, settings: Settings, clock: Clock, meters: Meters) -> Tools:
    """Open what collectors are lent, without state."""
    shop = await stack.enter_async_context(lent(settings.shop))
    return Tools(await stack.enter_async_context(client()), clock, meters, shop)
