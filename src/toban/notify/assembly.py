"""Assembles notification from its settings: the policy, the service, and what belongs to one configuration."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

import httpx2

from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock, Service
from toban.notify.channel import Channel, ChannelTools
from toban.notify.channel_commands import ChannelCommands
from toban.notify.default_inhibitions import INHIBITIONS
from toban.notify.drill import DrillService
from toban.notify.heartbeat import HeartbeatService
from toban.notify.inhibition import Inhibitor
from toban.notify.maintenance_windows import MaintenanceWindows
from toban.notify.pipeline_run import Policy
from toban.notify.routing import Routing
from toban.notify.service import NotificationService
from toban.notify.settings import NotifySettings
from toban.notify.silence_commands import SilenceCommands
from toban.state.database import State


@dataclass(frozen=True, slots=True)
class Notifications:
    """The notification service, its commands, and the services of its configuration."""

    service: NotificationService
    silences: SilenceCommands
    channels: ChannelCommands
    drills: DrillService
    services: Sequence[Service]
    """Drills, and the heartbeat where it is configured; the notification service outlives a configuration."""


def policy(settings: NotifySettings, channels: Mapping[str, Channel], personal: Collection[str] = ()) -> Policy:
    """Return the policy of some settings, with the shipped inhibit rules; ``personal`` channels belong to people."""
    return Policy(
        settings,
        Routing(settings, {name: channel.pages for name, channel in channels.items()}, personal),
        Inhibitor([*INHIBITIONS, *settings.inhibit]),
        MaintenanceWindows(settings),
    )


def channel_tools(settings: NotifySettings, shop: str, http: httpx2.AsyncClient, clock: Clock) -> ChannelTools:
    """Return what channels may use; ``shop`` is its name in messages."""
    return ChannelTools(http, clock, settings.address or "", shop)


def open_notifications(
    settings: NotifySettings,
    channels: Mapping[str, Channel],
    service: NotificationService,
    state: State,
    http: httpx2.AsyncClient,
    missing: Callable[[], str],
    clock: Clock,
    meters: MetricRegistry,
) -> Notifications:
    """Return what some settings ask for; ``missing`` says what keeps the heartbeat from being sent."""
    drilled = settings.drill.channels or tuple(name for name, channel in channels.items() if not channel.pages)
    zone = ZoneInfo(settings.timezone)
    drills = DrillService(settings.drill, drilled, zone, service.was_delivered, state, clock, meters)
    services: list[Service] = [drills]
    if settings.heartbeat:
        services.append(HeartbeatService(settings.heartbeat, missing, http, clock, meters))
    return Notifications(
        service,
        SilenceCommands(state, clock, service.decided),
        ChannelCommands(service, clock),
        drills,
        services,
    )
