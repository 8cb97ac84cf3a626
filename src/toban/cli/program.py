"""The program `toban`: finds its commands by their files' names, and imports the one that is called."""

import ast
import importlib
import io
import pkgutil
import sys
import threading
from pathlib import Path

import click

import toban
from toban.cli import commands
from toban.cli.telling import say
from toban.core.errors import SettingsError, TobanError


class Commands(click.Group):
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
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each command with what it does."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _about(name)) for name in self.list_commands(ctx)])


def _about(name: str) -> str:
    source = Path(commands.__path__[0], f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]


@click.command(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(toban.__version__, prog_name="toban")
def program() -> None:
    """
    toban, the one on duty for a Vendure webshop.

    `toban up` watches this machine; DATABASE_URL, REDIS_URL, SHOP_API_URL and STOREFRONT_URL in the environment,
    or a toban.yaml written by `toban init`, let it watch a shop. Exit codes: 0 well, 1 something is wrong,
    2 asked for something impossible.
    """


def main() -> None:
    """Run the command that was typed, and end the process."""
    code = _run()
    if threading.active_count() > 1:
        # Some of them may hang, and Python would wait for them.
        from toban.core.running import leave

        leave(code)
    sys.exit(code)


def _run() -> int:
    """Run the command that was typed, and return its exit code."""
    try:
        code = program(standalone_mode=False)
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        say(shown.getvalue().rstrip("\n"), err=True)
        return 2
    except (click.Abort, KeyboardInterrupt):
        return 130
    except SettingsError as error:
        say(str(error), err=True)
        return 2
    except TobanError as error:
        say(str(error), err=True)
        return 1
    except BrokenPipeError:
        return 0  # who read our output has seen enough
    return code if isinstance(code, int) else 0
