"""Message catalogues: texts by key and language, in `messages/LANGUAGE.toml` of each package that has some."""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Final

LANGUAGES: Final = ("en", "ja")
"""The languages; the first is the default."""


@cache
def catalogue(package: str, language: str) -> Mapping[str, str]:
    """Return a package's texts in a language, by key."""
    known = language if language in LANGUAGES else LANGUAGES[0]
    return tomllib.loads(files(package).joinpath("messages", f"{known}.toml").read_text(encoding="utf-8"))
