"""Asks how people are to be reached, and sends a test message."""

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
            "port": "Its port; 587 unless another is named",
            "tls": "starttls, tls or none; starttls unless another is named",
            "username": "The account to log in with; empty if there is none",
            "password": "Its password",
            "sender": "Whom the mails are from (toban <alerts@example.com>)",
            "to": "Who gets them, with commas between",
        },
    ),
    "pagerduty": ("pagerduty", {"key": "The integration key of a service (Events API V2)"}),
    "webhook": ("webhook", {"url": "Where to post (https://...)"}),
}
"""For each answer the kind of channel, and what is asked about it."""

SECRET: Final = frozenset({"token", "password", "key"})
"""What is not shown while it is typed."""


def prompt(question: str, default: str = "", *, hidden: bool = False) -> str | None:
    """Ask a person; return nothing where the answers have ended, as those of a script do."""
    shown = bool(default)
    try:
        given: str = click.prompt(
            question,
            default=escape_controls(default),
            show_default=shown,
            hide_input=hidden and sys.stdin.isatty(),
        )
    except click.Abort as error:
        if isinstance(error.__context__, EOFError):
            return None
        raise
    return given.strip()


def channels_from_environment(environment: Mapping[str, str]) -> list[str]:
    """Return the channels that variables make, and say which do."""
    found = list(environment_channels.from_variables(environment))
    for name in found:
        echo(f"{name}: taken from {environment_channels.VARIABLES[name]} in the environment.")
    return found


def prompt_for_channel() -> tuple[str, dict[str, str], bool]:
    """
    Ask for a channel until one takes a test message, or is wanted without, or none is.

    Return its name, its settings (none where there is none), and whether all is well.
    """
    while True:
        which = prompt(f"How are people told that something is wrong? ({', '.join([*QUESTIONS, NONE])})", NONE)
        if which in {None, "", NONE}:
            return "", {}, True
        if which not in QUESTIONS:
            echo(f"  {which!r} is none of these.")
            continue
        kind, questions = QUESTIONS[which]
        answers = {name: prompt(question, hidden=name in SECRET) for name, question in questions.items()}
        channel = {"kind": kind, **{name: answer for name, answer in answers.items() if answer}}
        ended = None in answers.values()
        try:
            settings = build_settings({"channels": {kind: dict(channel)}}, os.environ, "the answer")
        except SettingsError as error:
            echo("\n".join(f"  {line}" for line in str(error).splitlines()))
            if ended:
                return "", {}, False
            continue
        well = try_channel(settings, kind)
        if well or ended or not _again():
            return kind, channel, well


def try_channel(settings: Settings, name: str) -> bool:
    """Send a test message and say whether it arrived."""
    found = run(send_test(settings, name))
    echo(f"  {'●' if found.ok else '▲'} {name}: {found.message}")
    return found.ok


def _again() -> bool:
    return (prompt("Try another answer, or keep this one? (again, keep)", "again") or "keep") != "keep"
