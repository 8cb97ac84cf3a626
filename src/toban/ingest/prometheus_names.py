"""Converts OpenTelemetry's metric names and attributes to Prometheus', by the rules that both publish."""

import json
import re
from collections.abc import Mapping
from typing import Final

from toban.core.labels import bounded_value
from toban.ingest.label_values import safe_label
from toban.ingest.otlp_model import Metric, MetricShape, Value

UNITS: Final = {
    "d": "days", "h": "hours", "min": "minutes", "s": "seconds", "ms": "milliseconds", "us": "microseconds",
    "ns": "nanoseconds", "By": "bytes", "KiBy": "kibibytes", "MiBy": "mebibytes", "GiBy": "gibibytes",
    "KBy": "kilobytes", "MBy": "megabytes", "GBy": "gigabytes", "%": "percent", "Cel": "celsius", "Hz": "hertz",
    "V": "volts", "A": "amperes", "J": "joules", "W": "watts", "g": "grams", "m": "meters",
}  # fmt: skip  # a table

PER: Final = {"s": "second", "m": "minute", "h": "hour", "d": "day", "w": "week", "mo": "month", "y": "year"}

RENAMED_METRICS: Final = {
    "http.server.duration": "http.server.request.duration",
    "http.client.duration": "http.client.request.duration",
    "db.client.connections.usage": "db.client.connection.count",
    "db.client.connections.pending_requests": "db.client.connection.pending_requests",
}
"""Metric names from before the conventions were stable; durations were milliseconds then."""

RENAMED_ATTRIBUTES: Final = {
    "http.method": "http.request.method",
    "http.status_code": "http.response.status_code",
    "http.scheme": "url.scheme",
    "http.flavor": "network.protocol.version",
    "net.host.name": "server.address",
    "net.host.port": "server.port",
    "net.peer.name": "server.address",
    "net.peer.port": "server.port",
    "db.system": "db.system.name",
    "db.operation": "db.operation.name",
    "state": "db.client.connection.state",
    "pool.name": "db.client.connection.pool.name",
}

RESERVED_LABELS: Final = frozenset({"job", "instance", "le", "quantile"})
"""Labels with another meaning in toban."""

MAX_NAME: Final = 200
"""Characters of a metric or attribute name that are used."""


def current_convention(metric: Metric) -> tuple[str, float]:
    """Return a metric's name in the stable conventions, and the factor that converts its values to base units."""
    scale = 0.001 if metric.unit == "ms" else 1.0
    return RENAMED_METRICS.get(metric.name, metric.name), scale


def metric_name(metric: Metric) -> str:
    """Return a metric's Prometheus name with unit and ``_total``, or an empty text when there is none."""
    words = _normalized(current_convention(metric)[0])
    unit = _unit("s" if metric.unit == "ms" else metric.unit)
    if metric.unit == "1" and metric.shape is MetricShape.GAUGE:
        unit = "ratio"
    counts = metric.shape is MetricShape.SUM and metric.monotonic
    words = words.removesuffix("_total") if counts else words
    if unit and not words.endswith(f"_{unit}"):
        words = f"{words}_{unit}"
    return f"{words}_total" if counts and words else words


def point_labels(attributes: Mapping[str, Value], metric: Metric) -> dict[str, str]:
    """
    Return a point's attributes as labels, without secrets and empty ones.

    Attributes that become the same label share it: their values are joined by `;` in order of the attributes' names, as
    Prometheus' translation of OTLP does.
    """
    is_renamed = metric.name in RENAMED_METRICS
    labels: dict[str, str] = {}
    for key, text in texts(attributes):
        label = _normalized((RENAMED_ATTRIBUTES.get(key, key) if is_renamed else key).lstrip("_")).lstrip("_")
        if label:
            label = f"exported_{label}" if label in RESERVED_LABELS else label
            labels[label] = f"{labels[label]};{safe_label(text)}" if label in labels else safe_label(text)
    return {label: bounded_value(value) for label, value in labels.items()}


def series_origin(attributes: Mapping[str, Value], metric: Metric) -> int:
    """Return what identifies a series in its process: two of them may get the same labels here."""
    return hash((metric.name, metric.unit, *texts(attributes)))


def texts(attributes: Mapping[str, Value]) -> list[tuple[str, str]]:
    """Return non-empty attributes as texts, uncut, in order of their names."""
    return sorted((key, text) for key, value in attributes.items() if (text := _as_text(value)))


def _as_text(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return "" if value is None else str(value)


def _unit(text: str) -> str:
    text = re.sub(r"\{[^{}]*\}", "", text[:MAX_NAME])
    first, slash, second = text.partition("/")
    unit = UNITS.get(first, "" if first == "1" else first)
    if slash and second:
        unit = f"{unit}_per_{PER.get(second, second)}"
    return _normalized(unit).strip("_")


def _normalized(text: str) -> str:
    """Return a name with `_` for all but letters of any script and digits."""
    name = re.sub(r"[\W_]+", "_", text[:MAX_NAME])
    return f"key_{name}" if name[:1].isdigit() else name
