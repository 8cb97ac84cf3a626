"""The texts of notifications."""

from collections.abc import Mapping

from toban.core.message_catalogue import catalogue


def texts(language: str) -> Mapping[str, str]:
    """Return the texts in a language, by key."""
    return catalogue("toban.notify", language)
