"""What pages say, in the reader's language."""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

LANGUAGES: Final = ("en", "ja")
"""The languages there are; the first is spoken to whoever asks for none of them."""


@cache
def catalogue(language: str) -> Mapping[str, str]:
    """Return the texts of one language, by key."""
    return tomllib.loads(files("toban.web").joinpath("messages", f"{language}.toml").read_text(encoding="utf-8"))


def negotiate_language(accept_language: str) -> str:
    """Choose the language that the reader likes best, by the Accept-Language header."""
    wishes = []
    for place, part in enumerate(accept_language.split(",")):
        tag, _, weight = part.strip().partition(";q=")
        try:
            wishes.append((-float(weight or 1), place, tag.lower().partition("-")[0]))
        except ValueError:
            continue  # a weight that is no number is no wish
    return next((tag for _, _, tag in sorted(wishes) if tag in LANGUAGES), LANGUAGES[0])
