"""What a board consists of. A user's own board is a YAML file of the same shape."""

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Final, Self

from pydantic import Field, StringConstraints, field_validator, model_validator

from toban.core.config_types import Section
from toban.core.errors import BadQueryError
from toban.core.labels import LABEL_NAME, METRIC_NAME
from toban.core.number_format import Unit
from toban.promql import parser

COLUMNS: Final = 24
"""The width of a board, in columns."""

INTERVALS: Final = {"__rate_interval": "5m", "__interval": "1m", "__range": "6h"}
"""Variables of every board that are lengths of time, with what they are replaced by where no range is known."""

VARIABLE: Final = re.compile(r"\$(?:\{(\w+)(?::\w+)?\}|(\w+))")

Title = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Expression = Annotated[str, StringConstraints(min_length=1, max_length=4_000)]
Identifier = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,34}$")]
RelativeTime = Annotated[str, StringConstraints(pattern=r"^now(-\d{1,6}[smhdwMQy])?(/[smhdwMQy])?$")]


class PanelType(StrEnum):
    """How a panel is drawn, by Grafana's names."""

    TIME_SERIES = "timeseries"
    STAT = "stat"
    GAUGE = "gauge"
    BAR_GAUGE = "bargauge"
    TABLE = "table"
    HEATMAP = "heatmap"
    STATE_TIMELINE = "state-timeline"

    @property
    def is_instant(self) -> bool:
        """Whether it shows values of one time."""
        return self in {PanelType.GAUGE, PanelType.BAR_GAUGE, PanelType.TABLE}


class DrawStyle(StrEnum):
    """How the series of a time series panel are drawn."""

    LINE = "line"
    BARS = "bars"
    STACKED = "stacked"


class Level(StrEnum):
    """What a value from a threshold on means."""

    OK = "ok"
    WARNING = "warning"
    CRITICAL = "critical"


class Titled(Section):
    """What has a title, in English and perhaps in Japanese."""

    title: Title

    title_ja: str = ""
    """The title in Japanese; the English one where it is empty."""

    def title_in(self, language: str) -> str:
        """Return the title in a language."""
        return localized(self.title, self.title_ja, language)


class Described(Titled):
    """What has a description, too."""

    description: str = ""

    description_ja: str = ""

    def description_in(self, language: str) -> str:
        """Return the description in a language."""
        return localized(self.description, self.description_ja, language)


class Query(Section):
    """A query of a panel."""

    expr: Expression
    """A PromQL expression; `$name` stands for a variable, `$__rate_interval` for a range that suits `rate`."""

    legend: str = ""
    """The name of each series, with labels in double braces: `{{endpoint}} - {{method}}`."""

    legend_ja: str = ""
    """The same in Japanese; the English one where it is empty."""

    fill_below_to: str = ""
    """The legend of another query of the panel: the area between the two is filled, from this one down to that."""

    def legend_in(self, language: str) -> str:
        """Return the legend in a language."""
        return localized(self.legend, self.legend_ja, language)

    @field_validator("expr")
    @classmethod
    def _is_promql(cls, expr: str) -> str:
        try:
            parser.parse(with_placeholders(expr))
        except BadQueryError as error:
            raise ValueError(f"{expr!r}: {error}") from error
        return expr


class Threshold(Section):
    """From which value on a panel's value means what."""

    value: float

    level: Level


class Panel(Described):
    """One chart, number or table of a board."""

    type: PanelType = PanelType.TIME_SERIES

    queries: tuple[Query, ...] = Field(min_length=1, max_length=26)

    unit: Unit = Unit.SHORT

    axis_label: str = ""

    min: float | None = None

    max: float | None = None

    thresholds: tuple[Threshold, ...] = ()
    """In ascending order."""

    base_level: Level = Level.OK
    """What a value below the first threshold means."""

    colored_background: bool = False
    """Whether a stat panel's background has the colour of its threshold."""

    style: DrawStyle = DrawStyle.LINE

    logarithmic: bool = False

    width: int = Field(12, ge=1, le=COLUMNS)

    height: int = Field(8, ge=2, le=40)

    @model_validator(mode="after")
    def _thresholds_ascend(self) -> Self:
        if any(later.value <= earlier.value for earlier, later in pairwise(self.thresholds)):
            raise ValueError(f"panel {self.title!r}: thresholds must ascend")
        return self

    @model_validator(mode="after")
    def _areas_have_two_sides(self) -> Self:
        legends = {query.legend for query in self.queries}
        for query in self.queries:
            if query.fill_below_to and (query.fill_below_to not in legends or query.fill_below_to == query.legend):
                raise ValueError(f"panel {self.title!r}: no other query has the legend {query.fill_below_to!r}")
        return self


class Row(Titled):
    """Panels under a heading."""

    panels: tuple[Panel, ...] = Field(min_length=1)


class Variable(Titled):
    """A label whose values can be chosen, as `$name` in a matcher with `=~`."""

    name: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*$")]

    metric: Annotated[str, StringConstraints(pattern=rf"^{METRIC_NAME.pattern}$")]
    """The metric whose series have the label."""

    label: Annotated[str, StringConstraints(pattern=rf"^{LABEL_NAME.pattern}$")]


class InitialRange(Section):
    """The time range that a board shows at first, in Grafana's words."""

    begin: RelativeTime = Field("now-6h", alias="from")

    end: RelativeTime = Field("now", alias="to")


class Board(Described):
    """A board: panels, and rows of panels."""

    name: Identifier
    """Its name in addresses and commands, and its uid in Grafana (with `toban-` before it)."""

    variables: tuple[Variable, ...] = ()

    panels: tuple[Panel, ...] = ()
    """The panels above the first row."""

    rows: tuple[Row, ...] = ()

    time: InitialRange = InitialRange()

    refresh: Annotated[str, StringConstraints(pattern=r"^\d{1,3}[smh]$")] = "30s"

    @property
    def all_panels(self) -> Iterator[Panel]:
        """All panels, those in rows too."""
        yield from self.panels
        for row in self.rows:
            yield from row.panels

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        known = {variable.name for variable in self.variables}
        if len(known) < len(self.variables):
            raise ValueError("two variables have the same name")
        titles = [panel.title for panel in self.all_panels]
        if not titles:
            raise ValueError("a board needs a panel: add `panels` or `rows`")
        if twice := sorted({title for title in titles if titles.count(title) > 1}):
            raise ValueError(f"two panels are called {twice[0]!r}")
        for panel in self.all_panels:
            for query in panel.queries:
                if unknown := sorted(variables_of(query.expr) - known - INTERVALS.keys()):
                    raise ValueError(f"panel {panel.title!r}: ${unknown[0]} is not among the board's variables")
        return self


def variables_of(expr: str) -> set[str]:
    """Return the names of the variables in an expression."""
    return {braced or plain for braced, plain in VARIABLE.findall(expr)}


def expanded(expr: str, values: Mapping[str, str]) -> str:
    """Return an expression with the values of its variables; one that has none stands for all values of its label."""
    return VARIABLE.sub(lambda found: values.get(found[1] or found[2], ".*"), expr)


def with_placeholders(expr: str) -> str:
    """Return an expression that can be parsed: with all values of each variable, and usual intervals."""
    return expanded(expr, INTERVALS)


def localized(english: str, japanese: str, language: str) -> str:
    """Return a text in a language."""
    return japanese if language == "ja" and japanese else english
