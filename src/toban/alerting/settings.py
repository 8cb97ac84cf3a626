"""The section `alerting` of `toban.yaml`."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, ValidationInfo

from toban.core.config_types import Duration, Section


def _relative_to_configuration(pattern: object, info: ValidationInfo) -> object:
    """Return a path that is relative to the folder of the configuration."""
    folder = (info.context or {}).get("folder")
    return str(Path(folder) / pattern) if isinstance(pattern, str) and folder else pattern


class AlertingSettings(Section):
    """Which rules are evaluated, and how often."""

    rules: tuple[Annotated[str, BeforeValidator(_relative_to_configuration)], ...] = ()
    """Your own rule files, in Prometheus' format; `*` matches any part of a name. A rule of yours replaces a shipped
    one of the same name."""

    shipped: bool = True
    """Whether the shipped rules are evaluated too."""

    without: tuple[str, ...] = ()
    """Names of shipped rules that are not evaluated."""

    evaluation_interval: Duration = timedelta(seconds=15)
    """The evaluation interval of rule groups that set no `interval`."""
