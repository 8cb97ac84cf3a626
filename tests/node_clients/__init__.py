"""Real clients for Node: loggers that push their lines to a Loki, and Sentry's SDK."""

import subprocess
from pathlib import Path

from tests.node_packages import node_command

FOLDER = Path(__file__).parent


def push(url: str, token: str, client: str, count: int) -> None:
    """Push an error and so many warnings with `winston-json`, `winston-protobuf` or `pino`; the token is a password."""
    _run("push.js", url, token, client, str(count))


def report(dsn: str, message: str) -> None:
    """Report an error with `@sentry/node`."""
    _run("report.js", dsn, message)


def _run(script: str, *arguments: str) -> None:
    command = node_command(FOLDER, script, *arguments)
    subprocess.run(command, stdin=subprocess.DEVNULL, timeout=60, check=True)
