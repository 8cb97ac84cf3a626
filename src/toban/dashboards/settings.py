"""The section `dashboards` of toban.yaml."""

from toban.core.config_types import FilePattern, Section


class DashboardSettings(Section):
    """Your own boards, beside the shipped ones."""

    boards: tuple[FilePattern, ...] = ()
    """YAML files, one board each; `*` matches any part of a name. A board of yours replaces a shipped one of the same
    name."""
