"""What a person answers from a channel: read from a button or from the words of a command. Pure."""

import re
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from toban.access.permissions import Permission
from toban.core.config_types import parse_duration
from toban.core.errors import InvalidCommandError

_VALUE: Final = re.compile(r"i(?P<incident>[0-9]{1,18})\.v(?P<version>[0-9]{1,9})(?:\.(?P<length>[0-9]{1,4}[mhd]))?")
_RUN: Final = re.compile(r"r(?P<run>[0-9]{1,18})\.(?P<approval>[0-9a-f]{16})")


class Verb(StrEnum):
    """What a person wants."""

    ACKNOWLEDGE = "acknowledge"
    UNACKNOWLEDGE = "unacknowledge"
    SNOOZE = "snooze"
    NOTE = "note"
    ASSIGN = "assign"
    ESCALATE = "escalate"
    RESOLVE = "resolve"
    APPROVE = "approve"
    REFUSE = "refuse"
    STATUS = "status"
    INCIDENTS = "incidents"
    ON_CALL = "oncall"
    RUN = "run"
    STOP = "stop"

    @property
    def permission(self) -> Permission:
        """What a person needs to be allowed for it, as in the console."""
        return Permission.READ if self in {Verb.STATUS, Verb.INCIDENTS, Verb.ON_CALL} else Permission.ACT


@dataclass(frozen=True, slots=True)
class Answer:
    """
    What a person wants of an incident, or of a run of a runbook; of neither, for a question.

    ``version`` is the number of the message that it was answered from; nothing where no message is meant. ``approval``
    identifies what a run asked for.
    """

    verb: Verb
    number: int = 0
    version: int | None = None
    length: timedelta | None = None
    text: str = ""
    approval: str = ""


COMMANDS: Final = {
    "ack": Verb.ACKNOWLEDGE,
    "note": Verb.NOTE,
    "snooze": Verb.SNOOZE,
    "assign": Verb.ASSIGN,
    "escalate": Verb.ESCALATE,
    "resolve": Verb.RESOLVE,
}
QUESTIONS: Final = {
    "status": Verb.STATUS,
    "incidents": Verb.INCIDENTS,
    "oncall": Verb.ON_CALL,
    "run": Verb.RUN,
    "stop": Verb.STOP,
}
USAGE: Final = (
    "status, incidents, oncall, ack N, note N TEXT, snooze N 1h, assign N PERSON, escalate N, resolve N, run RUNBOOK,"
    " stop"
)
LENGTH: Final = timedelta(hours=1)
"""How long a snooze lasts, unless the command says."""


def clicked(action: str, value: str) -> Answer:
    """Return the answer that a button or a menu stands for. Raises ``InvalidCommandError``."""
    try:
        verb = Verb(action.removeprefix("toban."))
    except ValueError as error:
        raise InvalidCommandError(f"unknown button {action[:50]!r}") from error
    if verb in {Verb.APPROVE, Verb.REFUSE}:
        if run := _RUN.fullmatch(value):
            return Answer(verb, int(run["run"]), approval=run["approval"])
    elif incident := _VALUE.fullmatch(value):
        length = parse_duration(incident["length"]) if incident["length"] else None
        return Answer(verb, int(incident["incident"]), int(incident["version"]), length)
    raise InvalidCommandError("this button is of another version of toban: answer from a newer message")


def commanded(text: str) -> Answer:
    """Return the answer that the words of a command stand for. Raises ``InvalidCommandError``."""
    word, _, rest = text.strip().partition(" ")
    rest = rest.strip()
    if not word:
        return Answer(Verb.STATUS)
    if word in QUESTIONS:
        return Answer(QUESTIONS[word], text=rest)
    if word not in COMMANDS:
        raise InvalidCommandError(f"unknown word {word[:50]!r}: write one of {USAGE}")
    number, _, rest = rest.partition(" ")
    number = number.removeprefix("#")
    if not re.fullmatch(r"[0-9]{1,18}", number):
        raise InvalidCommandError(f"write the number of the incident: {word} 42")
    length = None
    if COMMANDS[word] is Verb.SNOOZE:
        wanted, _, rest = rest.strip().partition(" ")
        try:
            length = parse_duration(wanted) if wanted else LENGTH
        except ValueError as error:
            raise InvalidCommandError(f"{wanted[:20]!r} is no duration: write it like 30m or 4h") from error
    return Answer(COMMANDS[word], int(number), length=length, text=rest.strip())
