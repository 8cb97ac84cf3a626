"""What metrics mean, as it stands in files: name, type, sentence, unit."""

from collections.abc import Sequence

from toban.core.samples import Family, Type


def family_row(family: Family) -> tuple[str, ...]:
    """Return a family as it is stored; the buckets of a histogram are told by its series."""
    return family.name, family.type.value, family.help, family.unit


def family_of(row: Sequence[str]) -> Family:
    """Return a family from what was stored. Raises ``ValueError`` when that is none."""
    name, sort, sentence, unit = row
    return Family(name, Type(sort), sentence, unit)
