"""The roof: the commands, a few lines each over what lies below."""

from toban.cli.program import main

__all__ = ["main"]
