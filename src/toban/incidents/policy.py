"""What the configuration says about incidents."""

from dataclasses import dataclass, field

from toban.incidents.settings import IncidentSettings, Priority
from toban.oncall.holiday_calendar import holiday_calendar
from toban.oncall.policy import OnCallPolicy
from toban.oncall.working_hours import WorkingTime


@dataclass(frozen=True, slots=True)
class IncidentPolicy(OnCallPolicy):
    """The settings of incidents, and of the people who answer them."""

    settings: IncidentSettings = field(kw_only=True)

    def working_time(self, priority: Priority) -> WorkingTime:
        """Return the time in which the deadlines of a priority run."""
        always = priority in self.settings.around_the_clock
        return WorkingTime(self.on_call.working_hours, self.zone, holiday_calendar(self.on_call.holidays), always)
