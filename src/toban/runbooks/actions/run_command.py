"""Run a command on the machine that toban runs on."""

import asyncio
import os
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field

from toban.core.config_types import Duration
from toban.core.errors import ActionError
from toban.core.redaction import redact_text
from toban.runbooks.action import Action, ActionContext, ActionTools, Plan

OUTPUT: Final = 4_000
"""Bytes of the output that are read; a sentence of it is kept."""

PASSED: Final = ("PATH", "HOME", "LANG", "TZ")
"""The variables of toban's environment that a command gets: none of its secrets."""


class RunCommand(Action):
    """
    Run a command on the machine that toban runs on, without a shell.

    It gets the alert in its environment: `TOBAN_ALERT`, `TOBAN_RUN`, and a variable `TOBAN_LABEL_…` for each label.
    It has succeeded when it exits with 0.
    """

    kind: Literal["run_command"] = "run_command"

    command: Annotated[tuple[str, ...], Field(min_length=1, max_length=50)]
    """The program and its arguments, as a list: nothing in them is expanded."""

    timeout: Duration = timedelta(minutes=1)

    async def plan(self, context: ActionContext, tools: ActionTools) -> Plan:
        """Return which command it would run."""
        return Plan(f"run `{' '.join(self.command)}` on toban's machine", targets=(f"command {self.command[0]}",))

    async def run(self, plan: Plan, context: ActionContext, tools: ActionTools) -> str:
        """Run it. Raises ``ActionError`` when it can't be started or fails."""
        labels = {f"TOBAN_LABEL_{_variable(name)}": value for name, value in context.alert.labels.items()}
        environment = {name: os.environ[name] for name in PASSED if name in os.environ}
        environment |= {"TOBAN_ALERT": context.alert.name, "TOBAN_RUN": context.key, **labels}
        try:
            process = await asyncio.create_subprocess_exec(
                *self.command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.STDOUT,
                env=environment,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise ActionError(f"{self.command[0]} can't be run: {error}") from error
        try:
            output = await _read(process)
            status = await process.wait()
        finally:
            if process.returncode is None:
                os.killpg(process.pid, 9)
                await process.wait()
        said = redact_text(output.decode("utf-8", "replace").strip().splitlines()[-1][:300]) if output.strip() else ""
        if status:
            raise ActionError(f"{self.command[0]} exited with {status}{f': {said}' if said else ''}")
        return f"ran {self.command[0]}{f': {said}' if said else ''}"

    async def missing(self, tools: ActionTools) -> str:
        """Return that the program is not there."""
        program = self.command[0]
        folders = [""] if "/" in program else os.environ.get("PATH", "").split(os.pathsep)
        found = any(os.access(Path(folder) / program, os.X_OK) for folder in folders)
        return "" if found else f"run_command: there is no program {program}"


async def _read(process: asyncio.subprocess.Process) -> bytes:
    """Read all of the output, and keep its end."""
    kept = b""
    assert process.stdout is not None  # noqa: S101  # it is a pipe
    while chunk := await process.stdout.read(65_536):
        kept = (kept + chunk)[-OUTPUT:]
    return kept


def _variable(label: str) -> str:
    return "".join(sign if sign.isascii() and sign.isalnum() else "_" for sign in label).upper()
