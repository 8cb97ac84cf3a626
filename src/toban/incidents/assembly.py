"""Assembles incidents from their settings: the policy, the commands, and the auditor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock, Service
from toban.incidents.auditor import IncidentAuditor
from toban.incidents.commands import IncidentCommands
from toban.incidents.duty_report import DutyReport
from toban.incidents.impact_updates import Estimate, ImpactUpdater
from toban.incidents.policy import IncidentPolicy
from toban.incidents.service import IncidentPorts, IncidentService
from toban.incidents.settings import IncidentSettings
from toban.incidents.true_incidents import TrueIncidents
from toban.oncall.commands import OnCallCommands
from toban.oncall.duty import AlwaysOnDuty, Duty
from toban.oncall.service import OnCallService
from toban.oncall.settings import OnCallSettings
from toban.oncall.shift_notices import ShiftNotices
from toban.state.database import State
from toban.state.message_queue import MessageQueue


@dataclass(frozen=True, slots=True)
class Incidents:
    """The incident service, its commands, its ports under one configuration, and the services of that."""

    service: IncidentService
    commands: IncidentCommands
    ports: IncidentPorts
    auditor: IncidentAuditor
    on_call: OnCallService
    on_call_commands: OnCallCommands
    impact: ImpactUpdater
    duty: DutyReport
    history: TrueIncidents
    shift_notices: ShiftNotices

    @property
    def services(self) -> Sequence[Service]:
        """The services of a configuration; the incident service outlives it."""
        return (self.on_call, self.shift_notices, self.auditor, self.impact)


def incident_policy(
    settings: IncidentSettings,
    on_call: OnCallSettings,
    channels: Mapping[str, bool],
    timezone: str,
    language: str,
    address: str,
    duty: Duty | None = None,
    calling: frozenset[str] = frozenset(),
) -> IncidentPolicy:
    """
    Return the policy of some settings.

    ``channels`` are the configured ones, each with whether it pages, ``calling`` those that call by themselves. Without
    a ``duty`` everybody is always on call.
    """
    zone = ZoneInfo(on_call.timezone or timezone)
    known = duty or AlwaysOnDuty(on_call.people)
    return IncidentPolicy(on_call, known, channels, zone, language, address, calling, settings=settings)


def open_incidents(
    service: IncidentService,
    ports: IncidentPorts,
    on_call: OnCallService,
    queue: MessageQueue,
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
    on_call_commands = OnCallCommands(on_call, lambda: service.policy, queue, state, clock, service.decided)
    impact = ImpactUpdater(service, estimate, state, clock, meters)
    notices = ShiftNotices(
        on_call,
        lambda: service.policy,
        lambda: any(it.priority == "P1" for it in service.book.open),
        queue,
        state,
        clock,
        meters,
    )
    return Incidents(
        service,
        IncidentCommands(service, state, clock),
        ports,
        auditor,
        on_call,
        on_call_commands,
        impact,
        DutyReport(on_call, lambda: service.policy, state),
        TrueIncidents(state),
        notices,
    )
