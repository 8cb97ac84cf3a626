"""Labels: the identity of a series."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn

NAME: Final = "__name__"
"""The label that has the metric name of a series."""

METRIC_NAME: Final = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
"""A metric name that needs no quotes (Prometheus' data model)."""

LABEL_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
"""A label name that needs no quotes (Prometheus' data model)."""

VALUE_LENGTH: Final = 120
"""Characters of a label value from outside; a longer one is truncated."""


def is_label_name(name: str) -> bool:
    """Return whether a label name is valid: any text, as in Prometheus 3; the text formats quote some."""
    return bool(name) and _is_unicode(name)


def is_metric_name(name: str) -> bool:
    """Return whether a metric name is valid: any text, as in Prometheus 3."""
    return is_label_name(name)


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


class Labels(dict[str, str]):
    """
    The labels of one series, with its metric name as ``__name__``.

    They are sorted by name, without empty values (to Prometheus an empty label is no label), hashable and immutable:
    two series are the same exactly when their labels are equal.
    """

    __slots__ = ("_hash",)
    _hash: int

    def __init__(self, labels: Mapping[str, str] | Iterable[tuple[str, str]] = (), /, **more: str) -> None:
        pairs = labels.items() if isinstance(labels, Mapping) else labels
        super().__init__(sorted((name, value) for name, value in [*pairs, *more.items()] if value))

    def __hash__(self) -> int:  # type: ignore[override]  # a dict is unhashable because it is mutable; this one is not
        try:
            return self._hash
        except AttributeError:
            self._hash = hash(tuple(self.items()))
            return self._hash

    @property
    def name(self) -> str:
        """The metric name; empty where an expression removed it."""
        return self.get(NAME, "")

    def drop(self, *names: str) -> "Labels":
        """Return these labels without the given names."""
        return _in_order([pair for pair in self.items() if pair[0] not in names])

    def keep(self, *names: str) -> "Labels":
        """Return only the given names of these labels."""
        return _in_order([pair for pair in self.items() if pair[0] in names])

    def __str__(self) -> str:
        """Return the series as PromQL writes it."""
        plain = METRIC_NAME.fullmatch(self.name)
        inside = [f"{quoted_name(name)}={quote(value)}" for name, value in self.items() if name != NAME]
        if self.name and not plain:
            inside.insert(0, quote(self.name))
        name = self.name if plain else ""
        return f"{name}{{{', '.join(inside)}}}" if inside or not name else name

    def _immutable(self, *_: Any, **__: Any) -> NoReturn:
        raise TypeError("labels are immutable: make new ones")

    __setitem__ = __delitem__ = clear = pop = popitem = setdefault = update = __ior__ = _immutable


def _in_order(pairs: Iterable[tuple[str, str]]) -> Labels:
    """Return the labels of pairs that are sorted, and none of which is empty."""
    labels = Labels.__new__(Labels)
    dict.update(labels, pairs)
    return labels


@dataclass(frozen=True, slots=True)
class LabelLimits:
    """Limits of a series: the number of labels, the bytes of their names and values; 0 is no limit (as Prometheus')."""

    count: int = 0
    name: int = 0
    value: int = 0

    def exceeded(self, labels: Mapping[str, str]) -> str:
        """Return which limit is exceeded, as Prometheus reports it; empty when none is."""
        of = f"metric: {labels.get(NAME, '')[:50]}"
        if self.count and len(labels) > self.count:
            return f"label_limit exceeded ({of}, number of labels: {len(labels)}, limit: {self.count})"
        for name, value in labels.items():
            where = f"{of}, label name: {name[:50]}"
            if self.name and (long := len(name.encode())) > self.name:
                return f"label_name_length_limit exceeded ({where}, length: {long}, limit: {self.name})"
            if self.value and (long := len(value.encode())) > self.value:
                return f"label_value_length_limit exceeded ({where}, length: {long}, limit: {self.value})"
        return ""


def bounded_value(value: str, whole: str = "") -> str:
    """
    Return a label value from outside, truncated to ``VALUE_LENGTH``.

    A truncated value ends in a hash of the original, so that different values stay different series. ``whole`` is the
    original if something else was removed from it before (docs/decisions/0013-values-that-are-cut-stay-apart.md).
    """
    if len(value) <= VALUE_LENGTH and not whole:
        return value
    mark = hashlib.blake2b((whole or value).encode("utf-8", "replace"), digest_size=6).hexdigest()
    return f"{value[: VALUE_LENGTH - len(mark) - 1]}…{mark}"


def quote(value: str) -> str:
    """Return a label value in double quotes, escaped as in the text formats and PromQL."""
    escaped = value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return f'"{escaped}"'


def quoted_name(name: str) -> str:
    """Return a label name as PromQL and Alertmanager write it: in quotes where it needs them."""
    return name if LABEL_NAME.fullmatch(name) else quote(name)


def common_labels(labels: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return the labels that several label sets have in common; none if there are no sets."""
    first, *others = labels or [{}]
    return {name: value for name, value in first.items() if all(other.get(name) == value for other in others)}
