"""The data of remote write 1.0: https://prometheus.io/docs/specs/prw/remote_write_spec/."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from toban.core.errors import TobanError
from toban.core.labels import Labels

HEADERS: Final = {
    "content-encoding": "snappy",
    "content-type": "application/x-protobuf",
    "x-prometheus-remote-write-version": "0.1.0",
}


class RemoteWriteDecodeError(TobanError):
    """A body is not a valid remote write request."""


@dataclass(frozen=True, slots=True)
class RemoteSample:
    """One received sample: its series, its time in milliseconds, its value."""

    labels: Labels
    at: int
    value: float


@dataclass(frozen=True, slots=True, eq=False)
class RemoteSamples:
    """Received samples as columns: ``series[series_of[i]]`` is the series of sample ``i``."""

    series: Sequence[Labels]
    series_of: NDArray[np.intp]
    times: NDArray[np.int64]
    values: NDArray[np.float64]

    @classmethod
    def from_samples(cls, samples: Iterable[RemoteSample]) -> "RemoteSamples":
        """Return samples as columns."""
        rows = list(samples)
        return cls(
            [sample.labels for sample in rows],
            np.arange(len(rows)),
            np.array([sample.at for sample in rows], np.int64),
            np.array([sample.value for sample in rows], np.float64),
        )

    def __len__(self) -> int:
        return len(self.series_of)

    def __iter__(self) -> Iterator[RemoteSample]:
        """Iterate over the samples."""
        for series, at, value in zip(self.series_of.tolist(), self.times.tolist(), self.values.tolist(), strict=True):
            yield RemoteSample(self.series[series], at, value)

    def only(self, kept: NDArray[np.bool_]) -> "RemoteSamples":
        """Return some of the samples, with the same ``series``."""
        return (
            self
            if kept.all()
            else RemoteSamples(self.series, self.series_of[kept], self.times[kept], self.values[kept])
        )
