"""Redacts log lines, before anything else sees them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final

import re2

from toban.core.log_line import LogLine
from toban.core.redaction import REDACTED, is_secret, may_hold_secret, redact, redact_text
from toban.core.untyped_json import json_text

MAX_TEXT: Final = 16_384
"""Characters of a message or a stack trace that are kept."""

MAX_LABEL: Final = 200
"""Characters of a label, and of the name of a fact."""

MAX_FACT: Final = 2_000
"""Characters of a fact."""

MAX_FACTS: Final = 200
"""How many facts a line may have."""

SEARCHED_BEYOND: Final = 500
"""Characters after the limit that are searched too: half of a secret is not recognised as one."""


class LineRedactor:
    """
    Redacts secrets and personal data in lines, and cuts what is too long.

    ``keys`` are further names of secret facts, ``patterns`` further expressions (RE2) over texts. Most lines hold no
    secret: that is decided by one search over all of their texts.
    """

    def __init__(self, keys: Sequence[str] = (), patterns: Sequence[str] = ()) -> None:
        self._keys = frozenset(_normalized(key) for key in keys)
        self._own = re2.compile("|".join(f"(?:{it})" for it in patterns)) if patterns else None
        self._is_secret = lru_cache(4096)(self._is_secret_key)

    def redacted(self, line: LogLine) -> LogLine:
        """Return a line without secrets."""
        facts = self._facts(line.facts)
        labels = (line.context, line.service, line.environment, line.instance, line.category, line.trace_id)
        is_short = len(line.message) <= MAX_TEXT and len(line.trace) <= MAX_TEXT and max(map(len, labels)) <= MAX_LABEL
        if is_short and not self._may_hold_secret("\n".join((line.message, line.trace, *labels))):
            return line if facts is line.facts else replace(line, facts=facts)
        return replace(
            line,
            message=self._text(line.message, MAX_TEXT),
            context=self._text(line.context, MAX_LABEL),
            service=self._text(line.service, MAX_LABEL),
            environment=self._text(line.environment, MAX_LABEL),
            instance=self._text(line.instance, MAX_LABEL),
            category=self._text(line.category, MAX_LABEL),
            trace=self._text(line.trace, MAX_TEXT),
            trace_id=self._text(line.trace_id, MAX_LABEL),
            facts=facts,
        )

    def _facts(self, facts: Mapping[str, object]) -> Mapping[str, object]:
        """Return facts without secrets: the same ones where there is nothing to do."""
        if not facts:
            return facts
        is_plain = len(facts) <= MAX_FACTS
        texts: list[str] = []
        for name, value in facts.items():
            if type(value) is str and len(value) <= MAX_FACT:
                texts.append(value)
            elif type(value) is int and not -(10**11) < value < 10**11:
                texts.append(str(value))
            elif type(value) not in {int, float, bool} and value is not None:
                is_plain = False
            if self._is_secret(name) or len(name) > MAX_LABEL:
                is_plain = False
            texts.append(name)
        if is_plain and not self._may_hold_secret("\n".join(texts)):
            return facts
        kept = list(facts.items())[:MAX_FACTS]
        return {self._text(name, MAX_LABEL): self._fact(name, value) for name, value in kept}

    def _fact(self, name: str, value: object) -> object:
        if self._is_secret(name):
            return REDACTED
        if isinstance(value, str):
            return self._text(value, MAX_FACT)
        if isinstance(value, bool | int | float) or value is None:
            return redact(value)
        return self._text(json_text(redact(self._without_own(value))), MAX_FACT)

    def _without_own(self, value: object) -> object:
        """Redact the fields of a nested value that settings name."""
        if not self._keys:
            return value
        if isinstance(value, Mapping):
            return {
                key: REDACTED if self._is_secret(str(key)) else self._without_own(inner) for key, inner in value.items()
            }
        return [self._without_own(inner) for inner in value] if isinstance(value, list | tuple) else value

    def _text(self, text: str, limit: int) -> str:
        # Halves of surrogate pairs can't be written as UTF-8.
        text = text[: limit + SEARCHED_BEYOND].encode("utf-8", "replace").decode()
        redacted = redact_text(text)
        if self._own:
            redacted = self._own.sub(REDACTED, redacted)
        return redacted if len(redacted) <= limit else f"{redacted[:limit]}…"

    def _may_hold_secret(self, text: str) -> bool:
        return not _is_valid(text) or may_hold_secret(text) or bool(self._own and self._own.search(text))

    def _is_secret_key(self, name: str) -> bool:
        return is_secret(name) or _normalized(name) in self._keys


def _is_valid(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _normalized(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())
