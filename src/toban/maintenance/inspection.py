"""A task that only looks: what it finds is for people."""

from abc import ABC

from toban.core.errors import ActionError
from toban.maintenance.task import Step, StepContext, StepResult, Task, TaskTools


class Inspection(Task, ABC):
    """Finds things, and changes nothing: its plan has no steps."""

    async def act(self, step: Step, context: StepContext, tools: TaskTools) -> StepResult:
        """Refuse: it has no step. Raises ``ActionError``."""
        raise ActionError(f"{self.name} changes nothing")
