"""What metrics mean, as it stands in files: name, type, sentence, unit."""

from collections.abc import Sequence

from toban.core.samples import MetricFamily, MetricType


def encode_family(family: MetricFamily) -> tuple[str, ...]:
    """Return a family as it is stored; the buckets of a histogram are told by its series."""
    return family.name, family.type.value, family.help, family.unit


def decode_family(row: Sequence[str]) -> MetricFamily:
    """Return a family from what was stored. Raises ``ValueError`` when that is none."""
    name, sort, sentence, unit = row
    return MetricFamily(name, MetricType(sort), sentence, unit)
