"""Which rules judge."""

from datetime import timedelta

from toban.core.section import Duration, Section


class AlertingSettings(Section):
    """The rules that judge the numbers."""

    rules: tuple[str, ...] = ()
    """Rule files of your own, as Prometheus writes them; `*` stands for any part of a name. A rule of your own takes
    the place of a shipped one of the same name."""

    shipped: bool = True
    """Whether the rules that come with toban judge too."""

    without: tuple[str, ...] = ()
    """The names of shipped rules to leave out."""

    every: Duration = timedelta(seconds=15)
    """How often a group of rules is judged that doesn't say so itself."""
