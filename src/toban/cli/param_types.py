"""Parameter types of the command line."""

from datetime import timedelta

import click

from toban.core.config_types import parse_duration


class DurationType(click.ParamType[timedelta]):
    """A duration like 6h."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Parse a duration."""
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)
