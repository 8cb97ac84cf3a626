"""The engines that evaluate rules."""

from dataclasses import dataclass
from enum import StrEnum

from toban.core.ports import QueryEngine, RuleEngine


class RuleEngineName(StrEnum):
    """What the key `engine` of a rule group says; only the composition root knows which engine it is."""

    EMBEDDED = "embedded"
    """toban's own metrics, in PromQL."""
    OUTSIDE = "outside"
    """The metrics of the remote engine, in PromQL."""
    LOGS = "logs"
    """toban's own log lines, in LogQL."""

    @property
    def reads_metrics(self) -> bool:
        """Whether its rules read metrics: such rules can be exported and tested with series."""
        return self is not RuleEngineName.LOGS


@dataclass(frozen=True, slots=True)
class RuleEnginePair:
    """
    What evaluates the rules of a group, and what evaluates their queries for pages and commands.

    They are two, so that nobody who looks at a rule delays the evaluation of others.
    """

    rules: RuleEngine
    pages: QueryEngine
