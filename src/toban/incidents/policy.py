"""What the configuration says about incidents."""

from dataclasses import dataclass, field

from toban.incidents.settings import IncidentSettings, Priority
from toban.oncall.policy import OnCallPolicy
from toban.oncall.working_hours import WorkingTime


@dataclass(frozen=True, slots=True)
class IncidentPolicy(OnCallPolicy):
    """The settings of incidents, and of the people who answer them."""

    settings: IncidentSettings = field(kw_only=True)

    def working_time(self, priority: Priority) -> WorkingTime:
        """Return the time in which the deadlines of a priority run."""
        return self.working_hours(self.zone, always=priority in self.settings.around_the_clock)
