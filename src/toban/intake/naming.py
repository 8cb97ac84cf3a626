"""OpenTelemetry's names of metrics as Prometheus has them, by the rules that both publish."""

import re
from collections.abc import Mapping
from typing import Final

from toban.intake.nouns import Metric, Shape, Value
from toban.intake.words import word

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

LONGEST: Final = 120


def current(metric: Metric) -> tuple[str, float]:
    """Return what a metric is called today, and what its numbers are to be multiplied by to be in base units."""
    scale = 0.001 if metric.unit == "ms" else 1.0
    return OLD.get(metric.name, metric.name), scale


def name(metric: Metric) -> str:
    """Return a metric's name in Prometheus, its unit and ``_total`` included; nothing if there can't be one."""
    words = _joined(current(metric)[0])
    unit = _unit("s" if metric.unit == "ms" else metric.unit)
    if metric.unit == "1" and metric.shape is Shape.GAUGE:
        unit = "ratio"
    counts = metric.shape is Shape.SUM and metric.monotonic
    words = words.removesuffix("_total") if counts else words
    if unit and not words.endswith(f"_{unit}"):
        words = f"{words}_{unit}"
    return f"{words}_total" if counts and words else words


def labels(attributes: Mapping[str, Value], metric: Metric) -> dict[str, str]:
    """Return a point's attributes as labels, without secrets and without what is empty."""
    old = metric.name in OLD
    found = {}
    for key, value in attributes.items():
        label = _joined((OLD_LABELS.get(key, key) if old else key).lstrip("_")).lstrip("_")
        said = _said(value)
        if label and said:
            found[f"exported_{label}" if label in OWN else label] = said
    return found


def _said(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else word(str(value))[:LONGEST]


def _unit(text: str) -> str:
    text = re.sub(r"\{[^{}]*\}", "", text[:LONGEST])
    first, slash, second = text.partition("/")
    unit = UNITS.get(first, "" if first == "1" else first)
    if slash and second:
        unit = f"{unit}_per_{PER.get(second, second)}"
    return _joined(unit).strip("_")


def _joined(text: str) -> str:
    """Write a name with ``_`` for whatever Prometheus doesn't take."""
    found = re.sub(r"_{2,}", "_", re.sub(r"[^a-zA-Z0-9_]", "_", text[:200]))
    return f"key_{found}" if found[:1].isdigit() else found
