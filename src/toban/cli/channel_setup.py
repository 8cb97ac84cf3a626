"""Prompts for a notification channel, and sends a test notification."""

import os
import sys
from collections.abc import Mapping
from typing import Final

import click

from toban.cli.formatting import echo
from toban.core.errors import SettingsError
from toban.core.lifecycle import run
from toban.core.terminal_escapes import escape_controls
from toban.notify import environment_channels
from toban.notify.channel import CHANNELS
from toban.preflight import send_test
from toban.settings import Settings, build_settings

NONE: Final = "none"

QUESTIONS: Final[Mapping[str, tuple[str, Mapping[str, str]]]] = {
    "slack": ("slack", {"webhook": "The address of an incoming webhook (https://hooks.slack.com/services/...)"}),
    "slack-bot": ("slack", {"token": "The token of a bot (xoxb-...)", "channel": "The channel to write to (#shop)"}),
    "email": (
        "email",
        {
            "host": "The mail server (smtp.example.com)",
            "port": "Its port (default: 587)",
            "tls": "starttls, tls or none (default: starttls)",
            "username": "The account to log in with; empty if there is none",
            "password": "Its password",
            "sender": "The sender (toban <alerts@example.com>)",
            "to": "The recipients, separated by commas",
        },
    ),
}
"""The kinds of which more is asked than the settings they need: for each choice the kind, and the questions."""


def questions_by_choice() -> dict[str, tuple[str, Mapping[str, str]]]:
    """Return for each choice the kind of channel, and the questions about its settings."""
    asked = {kind for kind, _ in QUESTIONS.values()}
    return {**QUESTIONS, **{kind: (kind, _required(kind)) for kind in CHANNELS.names() if kind not in asked}}


def _required(kind: str) -> dict[str, str]:
    """Return the settings that a kind can't do without, and what they mean."""
    fields = CHANNELS.load(kind).model_fields.items()
    return {
        name: (field.description or name).strip().partition("\n")[0].rstrip(".")
        for name, field in fields
        if field.is_required() and name != "kind"
    }


def is_secret(kind: str, setting: str) -> bool:
    """Tell whether a setting is hidden while it is typed; an address is shown, so that one sees what was pasted."""
    field = CHANNELS.load(kind).model_fields[setting]
    return "SecretStr" in str(field.annotation) and setting not in {"url", "webhook"}


def prompt(question: str, default: str = "", *, hidden: bool = False) -> str | None:
    """Prompt for a value; return nothing at the end of the input, as in a script."""
    try:
        value: str = click.prompt(
            question,
            default=escape_controls(default),
            show_default=bool(default),
            hide_input=hidden and sys.stdin.isatty(),
        )
    except click.Abort as error:
        if isinstance(error.__context__, EOFError):
            return None
        raise
    return value.strip()


def channels_from_environment(environment: Mapping[str, str]) -> list[str]:
    """Return the channels that environment variables configure, and print them."""
    found = list(environment_channels.from_variables(environment))
    for name in found:
        echo(f"{name}: taken from {environment_channels.VARIABLES[name]} in the environment.")
    return found


def prompt_for_channel() -> tuple[str, dict[str, str], bool]:
    """
    Prompt for a channel until its test succeeds, or it is kept without, or none is chosen.

    Return its name, its settings (none where none is chosen), and whether its test succeeded.
    """
    while True:
        choices = questions_by_choice()
        which = prompt(f"Where should notifications go? ({', '.join([*choices, NONE])})", NONE)
        if which in {None, "", NONE}:
            return "", {}, True
        if which not in choices:
            echo(f"  unknown channel {which!r}")
            continue
        kind, questions = choices[which]
        answers = {name: prompt(question, hidden=is_secret(kind, name)) for name, question in questions.items()}
        channel = {"kind": kind, **{name: answer for name, answer in answers.items() if answer}}
        is_end = None in answers.values()
        try:
            settings = build_settings({"channels": {kind: dict(channel)}}, os.environ, "the answer")
        except SettingsError as error:
            echo("\n".join(f"  {line}" for line in str(error).splitlines()))
            if is_end:
                return "", {}, False
            continue
        succeeded = try_channel(settings, kind)
        if succeeded or is_end or not _again():
            return kind, channel, succeeded


def try_channel(settings: Settings, name: str) -> bool:
    """Send a test notification, and print the result."""
    status = run(send_test(settings, name))
    echo(f"  {'●' if status.ok else '▲'} {name}: {status.message}")
    return status.ok


def _again() -> bool:
    return (prompt("Try another answer, or keep this one? (again, keep)", "again") or "keep") != "keep"
