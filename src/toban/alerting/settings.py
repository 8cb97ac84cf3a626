"""Which rules judge."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

from pydantic import BeforeValidator, ValidationInfo

from toban.core.config_types import Duration, Section


def _seen_from_the_folder(pattern: object, info: ValidationInfo) -> object:
    """Return a path as it is seen from the folder of the configuration."""
    folder = (info.context or {}).get("folder")
    return str(Path(folder) / pattern) if isinstance(pattern, str) and folder else pattern


class AlertingSettings(Section):
    """The rules that judge the numbers."""

    rules: tuple[Annotated[str, BeforeValidator(_seen_from_the_folder)], ...] = ()
    """Rule files of your own, as Prometheus writes them; `*` stands for any part of a name. A rule of your own takes
    the place of a shipped one of the same name."""

    shipped: bool = True
    """Whether the rules that come with toban judge too."""

    without: tuple[str, ...] = ()
    """The names of shipped rules to leave out."""

    evaluation_interval: Duration = timedelta(seconds=15)
    """How often a group of rules is judged that doesn't say so itself."""
