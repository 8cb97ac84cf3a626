"""The section `alerting` of `toban.yaml`."""

from datetime import timedelta

from toban.core.config_types import Duration, FilePattern, Section


class AlertingSettings(Section):
    """Which rules are evaluated, and how often."""

    rules: tuple[FilePattern, ...] = ()
    """Your own rule files, in Prometheus' format; `*` matches any part of a name. A rule of yours replaces a shipped
    one of the same name."""

    shipped: bool = True
    """Whether the shipped rules are evaluated too."""

    without: tuple[str, ...] = ()
    """Names of shipped rules that are not evaluated."""

    evaluation_interval: Duration = timedelta(seconds=15)
    """The evaluation interval of rule groups that set no `interval`."""
