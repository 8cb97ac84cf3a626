"""Settings of metrics that are made from log lines."""

from itertools import pairwise
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from toban.core.config_types import Section, Text
from toban.core.labels import LABEL_NAME, METRIC_NAME
from toban.core.samples import MetricFamily, counter, histogram
from toban.instruments.metric_families import FINE_BUCKETS
from toban.logs.logql.lexer import ParseError
from toban.logs.logql.simple_search import parse_search

MAX_METRICS: Final = 50
MAX_LABELS: Final = 5
MAX_BUCKETS: Final = 30

RESERVED: Final = (
    *("alerts", "backup", "dns", "fly", "folder", "postgres", "probe", "process", "redis", "scrape", "sentry"),
    *("sloth", "storefront", "system", "tls", "toban", "up", "upstash", "uptimerobot", "vendure"),
)
"""First words of the metrics that toban itself declares, now or in a later version."""

SUFFIXES: Final = ("_total", "_bucket", "_sum", "_count", "_info")
"""Endings that Prometheus reserves for counters and for parts of a metric."""

RESERVED_LABELS: Final = frozenset({"job", "le", "quantile"})


def _metric_name(name: str) -> str:
    if not METRIC_NAME.fullmatch(name) or ":" in name:
        raise ValueError(f"invalid metric name {name!r}: it has letters, digits and _, and begins with no digit")
    first = name.partition("_")[0].lower()
    if first in RESERVED:
        raise ValueError(f"names that begin with {first!r} are those of toban's own metrics: call it shop_{name}")
    return name


def _label_name(name: str) -> str:
    if not LABEL_NAME.fullmatch(name) or name.startswith("__"):
        raise ValueError(f"invalid label name {name!r}: it has letters, digits and _, and begins with no digit or __")
    if name in RESERVED_LABELS:
        raise ValueError(f"the label {name!r} has a meaning of its own in Prometheus: use another")
    return name


def _query(text: str) -> str:
    try:
        parse_search(text)
    except ParseError as error:
        raise ValueError(f"invalid query: {error}") from None
    return text


def _increasing(buckets: tuple[float, ...]) -> tuple[float, ...]:
    if any(lower >= upper for lower, upper in pairwise(buckets)):
        raise ValueError("each bucket must be larger than the one before")
    return buckets


class LineMetricSettings(Section):
    """A counter or a histogram that is made from the log lines that a query finds."""

    name: Annotated[str, Field(max_length=100), AfterValidator(_metric_name)]
    """Name of the metric, like `shop_payment_errors_total`; that of a counter ends with `_total`."""

    kind: Literal["counter", "histogram"] = "counter"
    """`counter` counts lines, or adds their `value`; `histogram` counts their values by bucket."""

    help: Annotated[Text, Field(max_length=500)] = "Log lines that a query of logs.metrics found."
    """What the metric says, in one sentence."""

    query: Annotated[str, Field(min_length=1), AfterValidator(_query)]
    """The lines: words and `level:error` as in `toban logs`, or LogQL: a selector and its stages."""

    value: Annotated[Text, Field(max_length=100)] = ""
    """Label or fact with the number of each line, like `duration`; lines without one are rejected and counted."""

    buckets: Annotated[
        tuple[Annotated[float, Field(allow_inf_nan=False)], ...],
        Field(min_length=1, max_length=MAX_BUCKETS),
        AfterValidator(_increasing),
    ] = FINE_BUCKETS
    """Upper bounds of a histogram's buckets, in the unit of the value."""

    labels: Annotated[tuple[Annotated[str, AfterValidator(_label_name)], ...], Field(max_length=MAX_LABELS)] = ()
    """Labels or facts of the lines that become labels of the metric; each has 60 values at most, others are `other`."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if len(set(self.labels)) < len(self.labels):
            raise ValueError("labels: give each label once")
        if self.kind == "counter":
            if not self.name.endswith("_total"):
                raise ValueError(f"name: that of a counter ends with _total: call it {self.name}_total")
            if "buckets" in self.model_fields_set:
                raise ValueError("buckets: a counter has none: leave them out, or use `kind: histogram`")
        elif not self.value:
            raise ValueError("value: a histogram needs the name of the label or fact that has the number")
        elif suffix := next((it for it in SUFFIXES if self.name.endswith(it)), ""):
            raise ValueError(
                f"name: that of a histogram can't end with {suffix}: call it {self.name.removesuffix(suffix)}"
            )
        return self

    @property
    def family(self) -> MetricFamily:
        """The metric as it is exposed."""
        if self.kind == "counter":
            return counter(self.name, self.help, labels=self.labels)
        return histogram(self.name, self.help, self.buckets, labels=self.labels)

    @property
    def series_names(self) -> list[str]:
        """The names of its series."""
        return [self.name] if self.kind == "counter" else [f"{self.name}{it}" for it in ("_bucket", "_sum", "_count")]


def distinct_metrics(metrics: tuple[LineMetricSettings, ...]) -> tuple[LineMetricSettings, ...]:
    """Raise ``ValueError`` for more metrics than there may be, and for two of one name."""
    if len(metrics) > MAX_METRICS:
        raise ValueError(f"{len(metrics)} metrics: {MAX_METRICS} at most, since each line is held against each of them")
    names = [metric.name for metric in metrics]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"duplicate name {name!r}: give each metric a name of its own")
    return metrics
