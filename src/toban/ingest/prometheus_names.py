"""OpenTelemetry's names of metrics as Prometheus has them, by the rules that both publish."""

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

OLD: Final = {
    "http.server.duration": "http.server.request.duration",
    "http.client.duration": "http.client.request.duration",
    "db.client.connections.usage": "db.client.connection.count",
    "db.client.connections.pending_requests": "db.client.connection.pending_requests",
}
"""What metrics were called before the conventions were stable; lengths of time were milliseconds then."""

OLD_LABELS: Final = {
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

OWN: Final = frozenset({"job", "instance", "le", "quantile"})
"""Labels that mean something else to toban."""

LONGEST: Final = 200
"""Characters of a metric's or an attribute's name."""


def current_convention(metric: Metric) -> tuple[str, float]:
    """Return what a metric is called today, and what its numbers are to be multiplied by to be in base units."""
    scale = 0.001 if metric.unit == "ms" else 1.0
    return OLD.get(metric.name, metric.name), scale


def metric_name(metric: Metric) -> str:
    """Return a metric's name in Prometheus, its unit and ``_total`` included; nothing if there can't be one."""
    words = _joined(current_convention(metric)[0])
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
    Return a point's attributes as labels, without secrets and without what is empty.

    Attributes whose names become the same share a label: their values are joined by `;`, in the order of their names,
    as Prometheus' translation of OTLP has it.
    """
    old = metric.name in OLD
    found: dict[str, str] = {}
    for key, said in texts(attributes):
        label = _joined((OLD_LABELS.get(key, key) if old else key).lstrip("_")).lstrip("_")
        if label:
            label = f"exported_{label}" if label in OWN else label
            found[label] = f"{found[label]};{safe_label(said)}" if label in found else safe_label(said)
    return {label: bounded_value(said) for label, said in found.items()}


def series_origin(attributes: Mapping[str, Value], metric: Metric) -> int:
    """Return what tells a series from all others where it comes from: two of them may get the same labels here."""
    return hash((metric.name, metric.unit, *texts(attributes)))


def texts(attributes: Mapping[str, Value]) -> list[tuple[str, str]]:
    """Return attributes that say something, in the order of their names, by what they say in full."""
    return sorted((key, said) for key, value in attributes.items() if (said := _said(value)))


def _said(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return "" if value is None else str(value)


def _unit(text: str) -> str:
    text = re.sub(r"\{[^{}]*\}", "", text[:LONGEST])
    first, slash, second = text.partition("/")
    unit = UNITS.get(first, "" if first == "1" else first)
    if slash and second:
        unit = f"{unit}_per_{PER.get(second, second)}"
    return _joined(unit).strip("_")


def _joined(text: str) -> str:
    """Write a name with `_` for whatever isn't a letter, in any script, or a digit."""
    found = re.sub(r"[\W_]+", "_", text[:LONGEST])
    return f"key_{found}" if found[:1].isdigit() else found
