"""The program `toban`: its commands are found by file name, and imported when they are called."""

import ast
import importlib
import pkgutil
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import click

import toban
from toban.cli import commands, error_reporting, options
from toban.core.gc_pause import collection_paused


class CommandGroup(click.Group):
    """
    The commands, one file each: `status-page` is `status_page.py`.

    `--help` reads the first line of each file without importing it: with everything imported it took seconds.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all commands."""
        return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(commands.__path__))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        if cmd_name not in self.list_commands(ctx):
            return None
        with collection_paused():
            command: click.Command = importlib.import_module(f"{commands.__name__}.{_module(cmd_name)}").command
        options.inherit_options(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, and check that it takes the options that were given before it."""
        name, *rest = args
        command = self.get_command(ctx, name)
        if command is None:
            raise click.NoSuchCommand(name, possibilities=self.list_commands(ctx), ctx=ctx)
        taken = options.inherit_options(command)
        for unknown in sorted(set(ctx.meta.get(options.SHARED, {})) - taken):
            raise click.UsageError(f"`toban {name}` takes no --{unknown.removeprefix('as_')}.", ctx)
        return name, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each command with its summary."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _about(name)) for name in self.list_commands(ctx)])


def _module(name: str) -> str:
    return name.replace("-", "_")


def _about(name: str) -> str:
    source = Path(commands.__path__[0], f"{_module(name)}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


@click.command(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(toban.__version__, prog_name="toban")
@options.shared_option("config", expose_value=False)
@options.shared_option("data", expose_value=False)
@options.shared_option("as_json", expose_value=False)
def program() -> None:
    """
    toban, the monitor on duty for a Vendure webshop.

    `toban up` monitors this machine; DATABASE_URL, REDIS_URL, SHOP_API_URL and STOREFRONT_URL in the environment,
    or a toban.yaml written by `toban init`, let it monitor a shop. Exit codes: 0 success, 1 something is wrong,
    2 usage or configuration error.
    """


def run(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code; any error is one line."""
    data: Path | None = None
    try:
        with program.make_context("toban", list(arguments)) as context:
            try:
                code = program.invoke(context)
            finally:
                given = context.meta.get(options.SHARED, {}).get("data")
                data = Path(given) if given else None
    except click.exceptions.Exit as error:
        return error.exit_code
    except (Exception, KeyboardInterrupt) as error:  # every error is reported here
        return error_reporting.report_error(error, arguments, data)
    return code if isinstance(code, int) else error_reporting.SUCCESS


def main() -> None:
    """Run the command of the command line, and end the process."""
    code = run(sys.argv[1:])
    if threading.active_count() > 1:
        # Threads may hang, and Python would wait for them. Imported here: `--help` needs no event loop.
        from toban.core.lifecycle import exit_now

        exit_now(code)
    error_reporting.exit_process(code)
