"""Options that many commands take, before or after the sub-command."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource

SHARED: Final = "toban.options"
"""The key in the context under which given values are kept, for all commands of one run."""


class SharedOption(click.Option):
    """An option that also applies to the sub-command when it is given before it."""

    def consume_value(self, ctx: click.Context, opts: Mapping[str, click.Parameter]) -> tuple[Any, ParameterSource]:
        """Return the value given here, else the one given before."""
        value, source = super().consume_value(ctx, opts)
        given: dict[str, Any] = ctx.meta.setdefault(SHARED, {})
        if source is ParameterSource.COMMANDLINE:
            given[str(self.name)] = value
        elif self.name in given:
            return given[self.name], ParameterSource.COMMANDLINE
        return value, source


def given_value(name: str) -> Any:
    """Return the value of an option in this run; nothing outside of one."""
    context = click.get_current_context(silent=True)
    return context.meta.get(SHARED, {}).get(name) if context else None


_PATH: Final = click.Path(path_type=Path)
_OPTIONS: Final[Mapping[str, tuple[str, dict[str, Any]]]] = {
    "config": (
        "--config",
        {"type": _PATH, "envvar": "TOBAN_CONFIG", "help": "The configuration; ./toban.yaml if there."},
    ),
    "data": ("--data", {"type": _PATH, "help": "The data folder of the running toban."}),
    "as_json": ("--json", {"is_flag": True, "help": "Print JSON for machines."}),
}


F = TypeVar("F", bound=Callable[..., Any])


def shared_option(name: str, **more: Any) -> Callable[[F], F]:
    """Return a decorator that adds a shared option to a command."""
    flag, settings = _OPTIONS[name]
    return click.option(flag, name, cls=SharedOption, **{**settings, **more})


def inherit_options(command: click.Command) -> set[str]:
    """
    Add the shared options of its sub-commands to a command, and return the names of all that it takes.

    A command that takes the data folder takes the configuration that names it too.
    """
    there = {str(parameter.name) for parameter in command.params} & set(_OPTIONS)
    taken = set(there)
    if isinstance(command, click.Group):
        for child in command.commands.values():
            taken |= inherit_options(child)
    if "data" in taken:
        taken.add("config")
    for name in sorted(taken - there):
        flag, settings = _OPTIONS[name]
        command.params.append(SharedOption([flag, name], expose_value=False, **settings))
    return taken
