"""The status page for customers."""

from datetime import timedelta
from typing import Annotated

from pydantic import StringConstraints

from toban.core.config_types import Duration, Section

Name = Annotated[str, StringConstraints(min_length=1, max_length=60)]


class StatusPageSettings(Section):
    """
    A page at `/status` that customers may open without signing in.

    It shows what operators publish (`toban status-page`), and nothing of toban's own data.
    """

    enabled: bool = False
    """Whether there is such a page."""

    title: Annotated[str, StringConstraints(max_length=100)] = ""
    """The name of the shop as customers know it."""

    components: tuple[Name, ...] = ("Shop", "Payment", "Delivery")
    """The parts of the shop as customers know them, which a post can name."""

    history: Duration = timedelta(days=14)
    """How long posts are shown after they have ended."""
