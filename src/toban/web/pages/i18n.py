"""Texts of pages, in the reader's language."""

from collections.abc import Mapping

from toban.core.message_catalogue import LANGUAGES, catalogue


def texts(language: str) -> Mapping[str, str]:
    """Return the texts of a language, by key."""
    return catalogue("toban.web", language)


def negotiate_language(accept_language: str) -> str:
    """Choose the language that an Accept-Language header prefers."""
    preferences = []
    for place, part in enumerate(accept_language.split(",")):
        tag, _, weight = part.strip().partition(";q=")
        try:
            preferences.append((-float(weight or 1), place, tag.lower().partition("-")[0]))
        except ValueError:
            continue  # an invalid weight
    return next((tag for _, _, tag in sorted(preferences) if tag in LANGUAGES), LANGUAGES[0])
