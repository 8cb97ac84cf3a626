"""Assembles incidents from their settings: the policy, the commands, and the auditor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock, Service
from toban.incidents.auditor import IncidentAuditor
from toban.incidents.commands import IncidentCommands
from toban.incidents.duty import AlwaysOnDuty
from toban.incidents.impact_updates import Estimate, ImpactUpdater
from toban.incidents.policy import IncidentPolicy
from toban.incidents.service import IncidentPorts, IncidentService
from toban.incidents.settings import IncidentSettings, OnCallSettings
from toban.state.database import State


@dataclass(frozen=True, slots=True)
class Incidents:
    """The incident service, its commands, its ports under one configuration, and the services of that."""

    service: IncidentService
    commands: IncidentCommands
    ports: IncidentPorts
    auditor: IncidentAuditor
    impact: ImpactUpdater

    @property
    def services(self) -> Sequence[Service]:
        """The services of a configuration; the incident service outlives it."""
        return (self.auditor, self.impact)


def incident_policy(
    settings: IncidentSettings,
    on_call: OnCallSettings,
    channels: Mapping[str, bool],
    timezone: str,
    language: str,
    address: str,
) -> IncidentPolicy:
    """Return the policy of some settings; ``channels`` are the configured ones, each with whether it pages."""
    zone = ZoneInfo(on_call.timezone or timezone)
    return IncidentPolicy(settings, on_call, AlwaysOnDuty(on_call.people), channels, zone, language, address)


def open_incidents(
    service: IncidentService,
    ports: IncidentPorts,
    estimate: Estimate,
    state: State,
    clock: Clock,
    meters: MetricRegistry,
) -> Incidents:
    """
    Return what some settings ask for; the service is configured with these ports when their services start.

    ``estimate`` returns what is missing in the shop between two times.
    """
    auditor = IncidentAuditor(service, state, clock, meters)
    impact = ImpactUpdater(service, estimate, state, clock, meters)
    return Incidents(service, IncidentCommands(service, state, clock), ports, auditor, impact)
