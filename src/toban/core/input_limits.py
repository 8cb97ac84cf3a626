"""Limits of input: times, texts and label sets, the same for every endpoint."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Final

from pydantic import AfterValidator, AwareDatetime

from toban.core.labels import LabelLimits, Labels, is_label_name

EARLIEST: Final = datetime(1970, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(2200, 1, 1, tzinfo=UTC)
"""The range of accepted times: in every time zone, and with every duration added, they stay valid."""

LABELS: Final = 100
"""How many labels, or annotations, an alert may have."""
LABEL_NAME_LENGTH: Final = 1_000
LABEL_VALUE_LENGTH: Final = 5_000
ANNOTATION_LENGTH: Final = 20_000
"""Characters; a longer annotation is truncated, so that its alert is not lost."""

SERIES: Final = LabelLimits(LABELS, LABEL_NAME_LENGTH, LABEL_VALUE_LENGTH)
"""The same for series that are pushed."""

PERSON_LENGTH: Final = 200
COMMENT_LENGTH: Final = 2_000
"""Characters of a person's name, and of a comment."""
MATCHERS: Final = 100
"""How many matchers a silence may have."""
SILENCES: Final = 1_000
"""How many silences may be active or pending: each costs every decision."""

_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def checked_text(value: object, longest: int) -> str:
    """Return a text that can be stored and sent. Raises ``ValueError``."""
    if not isinstance(value, str):
        raise ValueError("must be a string")  # noqa: TRY004  # handled like any invalid input
    if len(value) > longest:
        raise ValueError(f"has {len(value)} characters: at most {longest} are accepted")
    if "\0" in value or _SURROGATE.search(value):
        raise ValueError("contains an invalid character (NUL, or half of a surrogate pair)")
    return value


def repair_surrogates(value: str) -> str:
    """Return a text with U+FFFD in place of halves of surrogate pairs, as Go's JSON decoder does."""
    return value if value.isascii() else _SURROGATE.sub("\ufffd", value)


def parse_time(value: object) -> datetime:
    """Read a time as RFC 3339 writes it; one without a zone is UTC. Raises ``ValueError``."""
    try:
        at = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError as error:
        raise ValueError(f"{str(value)[:50]!r} is not a valid time (RFC 3339)") from error
    return checked_time(at if at.tzinfo else at.replace(tzinfo=UTC))


def checked_time(at: datetime) -> datetime:
    """Return an aware time in UTC. Raises ``ValueError`` when it is out of range."""
    # Compared before it is converted: the year 10000 can't be converted to.
    if not EARLIEST <= at <= LATEST:
        raise ValueError(f"{at.isoformat()} is out of range: times from {EARLIEST.year} to {LATEST.year} are accepted")
    return at.astimezone(UTC)


def checked_labels(raw: object) -> Labels:
    """
    Read a set of labels, without those that are empty. Raises ``ValueError`` in Alertmanager's words where it has some.

    Half a surrogate pair becomes U+FFFD, as Go's JSON decoder has it.
    """
    pairs = {name: value for name, value in _pairs(raw, "labels").items() if value}
    if not pairs:
        raise ValueError("at least one label pair required")
    for name, value in pairs.items():
        if not is_label_name(name) or len(name) > LABEL_NAME_LENGTH:
            raise ValueError(f'invalid label set: invalid name "{name[:100]}"')
        if len(value) > LABEL_VALUE_LENGTH:
            raise ValueError(
                f'invalid label set: value of "{name[:100]}" has {len(value)} characters:'
                f" at most {LABEL_VALUE_LENGTH} are accepted"
            )
    return Labels(pairs)


def checked_annotations(raw: object) -> dict[str, str]:
    """Read annotations; what is too long is cut. Raises ``ValueError``."""
    pairs = _pairs(raw or {}, "annotations")
    for name in pairs:
        if not is_label_name(name) or len(name) > LABEL_NAME_LENGTH:
            raise ValueError(f'invalid annotations: invalid name "{name[:100]}"')
    return {name: value[:ANNOTATION_LENGTH] for name, value in pairs.items()}


def _pairs(raw: object, what: str) -> dict[str, str]:
    if not isinstance(raw, Mapping) or not all(isinstance(value, str) for value in raw.values()):
        raise ValueError(f"{what}: must be an object with string values")
    if len(raw) > LABELS:
        raise ValueError(f"{what}: {len(raw)} of them: at most {LABELS} are accepted")
    return {repair_surrogates(name): repair_surrogates(value) for name, value in raw.items()}


Timestamp = Annotated[AwareDatetime, AfterValidator(checked_time)]
"""A time in range, with its zone."""
