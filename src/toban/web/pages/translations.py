"""What commands, channels, services and runbooks say, in the reader's language: they speak English."""

from typing import Final

from toban.core.runbook_events import SENTENCES as RUNBOOKS
from toban.core.sentences import Sentences

_COMMANDS: Final = Sentences("toban.web", "toban.notify")
_SERVICES: Final = Sentences("toban.health", "toban.notify", RUNBOOKS)
_RUNBOOKS: Final = Sentences(RUNBOOKS)


def translate(text: str, language: str) -> str:
    """Return an error or a reason in a language; in English where nothing is known of it."""
    return _COMMANDS.translate(text, language)


def translate_service(text: str, language: str) -> str:
    """Return what a service says of its health in a language."""
    return _SERVICES.translate(text, language)


def translate_runbook(text: str, language: str) -> str:
    """Return what a runbook says, about a plan, its result or why it does not run, in a language."""
    return _RUNBOOKS.translate(text, language)
