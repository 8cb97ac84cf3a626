"""What remote write 1.0 is made of: https://prometheus.io/docs/specs/prw/remote_write_spec/."""

from dataclasses import dataclass
from typing import Final

from toban.core.errors import TobanError
from toban.core.labels import Labels

HEADERS: Final = {
    "content-encoding": "snappy",
    "content-type": "application/x-protobuf",
    "x-prometheus-remote-write-version": "0.1.0",
}


class WireError(TobanError):
    """A body that is no remote write request."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One number as it came: its series, its time in milliseconds."""

    labels: Labels
    at: int
    value: float
