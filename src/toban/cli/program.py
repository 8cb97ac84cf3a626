"""The program `toban`: finds its commands by their files' names, and imports the one that is called."""

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


class CommandGroup(click.Group):
    """
    The commands, one file each.

    `--help` reads the first line of each file without importing it: with everything imported it took seconds.
    """

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return their names."""
        return sorted(module.name for module in pkgutil.iter_modules(commands.__path__))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command: click.Command = importlib.import_module(f"{commands.__name__}.{cmd_name}").command
        options.inherit_options(command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that is meant, and see that it takes the options that stand before it."""
        name, *rest = args
        command = self.get_command(ctx, name)
        if command is None:
            raise click.NoSuchCommand(name, possibilities=self.list_commands(ctx), ctx=ctx)
        taken = options.inherit_options(command)
        for wrong in sorted(set(ctx.meta.get(options.SHARED, {})) - taken):
            raise click.UsageError(f"`toban {name}` takes no --{wrong.removeprefix('as_')}.", ctx)
        return name, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each command with what it does."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _about(name)) for name in self.list_commands(ctx)])


def _about(name: str) -> str:
    source = Path(commands.__path__[0], f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


@click.command(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(toban.__version__, prog_name="toban")
@options.shared_option("config", expose_value=False)
@options.shared_option("data", expose_value=False)
@options.shared_option("as_json", expose_value=False)
def program() -> None:
    """
    toban, the one on duty for a Vendure webshop.

    `toban up` watches this machine; DATABASE_URL, REDIS_URL, SHOP_API_URL and STOREFRONT_URL in the environment,
    or a toban.yaml written by `toban init`, let it watch a shop. Exit codes: 0 well, 1 something is wrong,
    2 asked for something impossible.
    """


def run(arguments: Sequence[str]) -> int:
    """Run a command and return its exit code; whatever goes wrong is said in a line."""
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
    except (Exception, KeyboardInterrupt) as error:  # all of it ends here, in words
        return error_reporting.report_error(error, arguments, data)
    return code if isinstance(code, int) else error_reporting.WELL


def main() -> None:
    """Run the command that was typed, and end the process."""
    code = run(sys.argv[1:])
    if threading.active_count() > 1:
        # Some of them may hang, and Python would wait for them. Imported here: `--help` needs no event loop.
        from toban.core.lifecycle import exit_now

        exit_now(code)
    error_reporting.exit_process(code)
