"""The parts that a report is made of; each output draws them in its own way."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from toban.charts.plot import BarChart


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading of a section."""

    text: str


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph; the ``lead`` says the most important thing of the report."""

    text: str
    is_lead: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A table; the columns that are not ``texts``, by their places, hold numbers."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    texts: frozenset[int] = frozenset({0})


@dataclass(frozen=True, slots=True)
class Bullets:
    """A list."""

    items: Sequence[str]


@dataclass(frozen=True, slots=True)
class Checklist:
    """A list of what is to do, each with whether it is done."""

    items: Sequence[tuple[bool, str]]


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart, with a sentence that says the same for those who can't see it."""

    chart: BarChart
    text: str


Block: TypeAlias = Heading | Paragraph | Table | Bullets | Checklist | Chart


@dataclass(frozen=True, slots=True)
class Content:
    """The content of a report in one language."""

    language: str
    title: str
    blocks: Sequence[Block]
    footer: str
    link: str
    """The page of this report in the console; empty where people can't reach it."""
