"""The section `reports` of toban.yaml: reports that are sent regularly."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias

from pydantic import BeforeValidator, model_validator

from toban.core.config_types import Duration, Text
from toban.core.errors import ActionError
from toban.core.plugins import named_by_key
from toban.core.schedule import Schedule
from toban.maintenance.task import ReportOrder, Step, StepContext, StepResult, Task, TaskPlan, TaskTools
from toban.reports.period import Period
from toban.reports.report import Audience

SCHEDULES: Final = {Period.DAY: "0 7 * * *", Period.WEEK: "0 8 * * 1", Period.MONTH: "0 8 1 * *"}
"""When reports are sent, by their period."""


class ScheduledReport(Task):
    """A report on the last day, week or month, sent to channels or written to a folder."""

    kind: Literal["report"] = "report"
    """Always `report`; it need not be written."""
    target: ClassVar[str] = "reports"

    period: Period = Period.MONTH
    """The time that it is about: the last `day`, `week` or `month` that is over."""

    audience: Audience = Audience.OWNER
    """Whom it is for: the shop's `owner`, or an `engineer`, who reads more of how the shop worked."""

    language: Literal["en", "ja"] | None = None
    """Its language; default: that of `notify`."""

    to: tuple[Text, ...] = ()
    """The channels that it is sent to: e-mail shows it whole, others a summary with a link."""

    folder: Path | None = None
    """A folder that it is written to, as HTML, Markdown and JSON."""

    cron: Schedule = SCHEDULES[Period.MONTH]
    """When it is sent; default: daily at 7:00, on Mondays at 8:00, or on the first of the month at 8:00."""

    timeout: Duration = timedelta(minutes=10)
    """How long making and sending it may take."""

    @model_validator(mode="before")
    @classmethod
    def _with_schedule(cls, written: Any) -> Any:
        """Choose the schedule that suits the period."""
        if isinstance(written, Mapping) and not written.get("cron") and written.get("period") in list(Period):
            return {**written, "cron": SCHEDULES[Period(written["period"])]}
        return written

    async def plan(self, tools: TaskTools) -> TaskPlan:
        """Return a step for each place that it goes to. Raises ``ActionError`` where there is none."""
        steps = [Step(it, f"send the report of the {self.period} to {it}", {"channel": it}) for it in self.to]
        if self.folder:
            where = str(self.folder)
            steps.append(Step(where, f"write the report of the {self.period} to {where}", {"folder": where}))
        if not steps:
            raise ActionError(f"reports.{self.name}: set `to` or `folder`: it goes nowhere")
        return TaskPlan(steps)

    async def act(self, step: Step, context: StepContext, tools: TaskTools) -> StepResult:
        """Make it and send it. Raises ``ActionError``."""
        if tools.send_report is None:
            raise ActionError("reports can't be made here")
        order = ReportOrder(self.name, self.period.value, self.audience.value, self.language or "", **step.facts)
        return StepResult(await tools.send_report(order))


ReportSettings: TypeAlias = Annotated[dict[str, ScheduledReport], BeforeValidator(named_by_key)]
"""Reports by names of your own."""
