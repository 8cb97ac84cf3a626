"""What there is in a range of time: streams, how many lines and bytes they have, and which fields."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from toban.core.errors import BadQueryError
from toban.core.log_line import LogStream
from toban.core.matchers import Matcher, matches_all
from toban.logs.line_store import LineStore
from toban.logs.logql.evaluation import closed
from toban.logs.logql.plan import Plan
from toban.logs.logql.quantities import parse_quantity
from toban.logs.logql.records import stream_labels
from toban.logs.logql.search import FoundLine, MissingLines
from toban.logs.logql.syntax_tree import Unit

Group: TypeAlias = tuple[tuple[str, str], ...]
"""The labels of some streams, by name."""

MAX_VOLUMES: Final = 100_000
"""How many volumes, of groups and steps, a query may have."""

MAX_VALUES: Final = 1_000
"""Different values of a field that are told apart."""


@dataclass(slots=True)
class Volume:
    """How many lines there are, and how many bytes of text."""

    lines: int = 0
    bytes: int = 0

    def add(self, other: "Volume") -> None:
        """Add another volume."""
        self.lines += other.lines
        self.bytes += other.bytes


@dataclass(slots=True)
class FoundStreams:
    """The labels of streams, and what could not be asked."""

    labels: Sequence[Mapping[str, str]]
    missing: Sequence[MissingLines] = ()


@dataclass(slots=True)
class FoundVolumes:
    """Volumes by group and step of time, and what could not be asked."""

    volumes: dict[tuple[Group, int], Volume]
    missing: Sequence[MissingLines] = ()

    def add(self, more: Mapping[tuple[Group, int], Volume]) -> None:
        """Add volumes. Raises ``BadQueryError`` when there are too many."""
        for key, volume in more.items():
            self.volumes.setdefault(key, Volume()).add(volume)
        if len(self.volumes) > MAX_VOLUMES:
            raise BadQueryError(f"more than {MAX_VOLUMES} volumes: ask for a larger step or fewer labels")


def matching_streams(
    store: LineStore, selectors: Sequence[Sequence[Matcher]], start: int, end: int
) -> list[Mapping[str, str]]:
    """Return the labels of the streams that any selector chooses, of all streams without a selector."""
    found = [stream_labels(stream) for stream in sorted(store.streams(start, end))]
    return [labels for labels in found if not selectors or any(matches_all(it, labels) for it in selectors)]


def volumes(
    store: LineStore,
    matchers: tuple[Matcher, ...],
    names: Sequence[str],
    start: int,
    end: int,
    step: int,
    check: Callable[[], None],
) -> Iterator[dict[tuple[Group, int], Volume]]:
    """
    Yield the volumes of streams that have the same values of some labels, by step of time (milliseconds).

    A group and step may come several times. Without names each stream is a group. ``check`` may raise.
    """
    with closed(store.count(Plan(matchers).selection(start, end), step)) as slices:
        for counts in slices:
            check()
            found: dict[tuple[Group, int], Volume] = {}
            for count in counts:
                found.setdefault((group_of(count.stream, names), count.at), Volume()).add(
                    Volume(count.lines, count.bytes)
                )
            yield found


def group_of(stream: LogStream, names: Sequence[str]) -> Group:
    """Return the group of a stream: some of its labels, all without names."""
    return tuple(sorted(pair for pair in stream_labels(stream).items() if not names or pair[0] in names))


@dataclass(slots=True)
class DetectedField:
    """A field of lines: the type of most of its values, and how many different ones there are."""

    name: str
    values: set[str] = field(default_factory=set)
    types: Counter[str] = field(default_factory=Counter)

    def add(self, value: str) -> None:
        """Add the value of one line."""
        self.types[type_of(value)] += 1
        if len(self.values) < MAX_VALUES:
            self.values.add(value)


def detected_fields(lines: Sequence[FoundLine], limit: int) -> list[DetectedField]:
    """Return the structured metadata of lines, and what their query parsed."""
    fields: dict[str, DetectedField] = {}
    for line in lines:
        for name, value in {**line.metadata, **line.parsed}.items():
            if name in fields or len(fields) < limit:
                fields.setdefault(name, DetectedField(name)).add(value)
    return sorted(fields.values(), key=lambda it: it.name)


def type_of(value: str) -> str:
    """Return the type of a value, in Loki's words."""
    if value in {"true", "false"}:
        return "boolean"
    if (number := parse_quantity(value, Unit.NUMBER)) is not None:
        return "int" if number.is_integer() and "." not in value else "float"
    if parse_quantity(value, Unit.DURATION) is not None:
        return "duration"
    return "bytes" if parse_quantity(value, Unit.BYTES) is not None else "string"
