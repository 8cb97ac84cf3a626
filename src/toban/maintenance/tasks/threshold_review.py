"""Look for better limits of alerting rules, once a month."""

from datetime import timedelta
from typing import ClassVar, Literal

from toban.core.config_types import Duration
from toban.core.errors import ActionError
from toban.core.schedule import Schedule
from toban.maintenance.task import Step, StepContext, StepResult, Task, TaskPlan, TaskTools


class ThresholdReview(Task):
    """
    Look for better limits of alerting rules by replay of the last 90 days, and propose them.

    It changes no rule: a person applies what convinces (`toban review --apply RULE`, or the page /review).
    """

    kind: Literal["threshold_review"] = "threshold_review"
    target: ClassVar[str] = "rules"

    cron: Schedule = "0 6 1 * *"

    timeout: Duration = timedelta(hours=6)

    async def plan(self, tools: TaskTools) -> TaskPlan:
        """Return the one step."""
        return TaskPlan([Step("rules", "replay all rules with other limits over the last 90 days")])

    async def act(self, step: Step, context: StepContext, tools: TaskTools) -> StepResult:
        """
        Replay all rules. Findings are proposals, applied limits that missed something, and incidents without a firing.

        Raises ``ActionError``.
        """
        if tools.review_thresholds is None:
            raise ActionError("rules can't be replayed here")
        return await tools.review_thresholds(context.tell)
