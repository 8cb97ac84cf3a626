"""The command line."""

from toban.cli.program import main

__all__ = ["main"]
