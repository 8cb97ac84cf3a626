"""The stored form of a metric family: name, type, help, unit."""

from collections.abc import Sequence

from toban.core.samples import MetricFamily, MetricType


def encode_family(family: MetricFamily) -> tuple[str, ...]:
    """Return a family as it is stored; the buckets of a histogram follow from its series."""
    return family.name, family.type.value, family.help, family.unit


def decode_family(row: Sequence[str]) -> MetricFamily:
    """Return the family that was stored. Raises ``ValueError`` when the row is none."""
    name, type_, help_, unit = row
    return MetricFamily(name, MetricType(type_), help_, unit)
