"""The section `alerting` of `toban.yaml`."""

from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from typing import Annotated

from pydantic import BeforeValidator, Field

from toban.core.config_types import Duration, FilePattern, Section, parse_duration


class RuleOverride(Section):
    """Another limit or another `for` of a rule; what is not written stays as it is."""

    limit: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """The number that the rule's expression compares with; only for a rule that has a single one."""

    for_: Annotated[timedelta, BeforeValidator(partial(parse_duration, zero=True))] | None = Field(None, alias="for")
    """How long the expression must be met: `10m`, `0s`."""


class AlertingSettings(Section):
    """Which rules are evaluated, and how often."""

    rules: tuple[FilePattern, ...] = ()
    """Your own rule files, in Prometheus' format; `*` matches any part of a name. A rule of yours replaces a shipped
    one of the same name."""

    shipped: bool = True
    """Whether the shipped rules are evaluated too."""

    without: tuple[str, ...] = ()
    """Names of shipped rules that are not evaluated."""

    overrides: Mapping[str, RuleOverride] = Field(default_factory=dict)
    """Other limits of rules, by their names; shipped rules keep their improvements, unlike with a copy of yours."""

    evaluation_interval: Duration = timedelta(seconds=15)
    """The evaluation interval of rule groups that set no `interval`."""
