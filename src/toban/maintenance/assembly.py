"""Assembles maintenance from its settings."""

from dataclasses import dataclass

from toban.core.ports import Clock
from toban.maintenance.commands import MaintenanceCommands
from toban.maintenance.executor import MaintenancePorts
from toban.maintenance.service import MaintenanceService
from toban.state.database import State


@dataclass(frozen=True, slots=True)
class Maintenance:
    """The maintenance service, which outlives a configuration, its commands, and its ports under one configuration."""

    service: MaintenanceService
    commands: MaintenanceCommands
    ports: MaintenancePorts


def open_maintenance(service: MaintenanceService, ports: MaintenancePorts, state: State, clock: Clock) -> Maintenance:
    """Return what some settings ask for; the service is configured with these ports when they are in force."""
    return Maintenance(service, MaintenanceCommands(service, state, clock), ports)
