"""Assembles runbooks from their settings."""

from dataclasses import dataclass

from toban.core.ports import Clock
from toban.runbooks.commands import RunbookCommands
from toban.runbooks.service import RunbookService
from toban.runbooks.situation import RunbookPorts
from toban.state.database import State


@dataclass(frozen=True, slots=True)
class Runbooks:
    """The runbook service, which outlives a configuration, its commands, and its ports under one configuration."""

    service: RunbookService
    commands: RunbookCommands
    ports: RunbookPorts


def open_runbooks(service: RunbookService, ports: RunbookPorts, state: State, clock: Clock) -> Runbooks:
    """Return what some settings ask for; the service is configured with these ports when they are in force."""
    return Runbooks(service, RunbookCommands(service, state, clock), ports)
