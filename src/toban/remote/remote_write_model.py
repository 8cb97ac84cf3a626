"""What remote write 1.0 is made of: https://prometheus.io/docs/specs/prw/remote_write_spec/."""

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
    """A body that is no remote write request."""


@dataclass(frozen=True, slots=True)
class RemoteSample:
    """One number as it came: its series, its time in milliseconds."""

    labels: Labels
    at: int
    value: float


@dataclass(frozen=True, slots=True, eq=False)
class RemoteSamples:
    """Many numbers as they came, side by side: ``series[of[i]]`` is whose the number ``i`` is."""

    series: Sequence[Labels]
    of: NDArray[np.intp]
    times: NDArray[np.int64]
    values: NDArray[np.float64]

    @classmethod
    def from_samples(cls, samples: Iterable[RemoteSample]) -> "RemoteSamples":
        """Put single numbers side by side."""
        some = list(samples)
        return cls(
            [sample.labels for sample in some],
            np.arange(len(some)),
            np.array([sample.at for sample in some], np.int64),
            np.array([sample.value for sample in some], np.float64),
        )

    def __len__(self) -> int:
        return len(self.of)

    def __iter__(self) -> Iterator[RemoteSample]:
        """Go through them one by one."""
        for series, at, value in zip(self.of.tolist(), self.times.tolist(), self.values.tolist(), strict=True):
            yield RemoteSample(self.series[series], at, value)

    def only(self, kept: NDArray[np.bool_]) -> "RemoteSamples":
        """Return some of them, of the same series."""
        return self if kept.all() else RemoteSamples(self.series, self.of[kept], self.times[kept], self.values[kept])
