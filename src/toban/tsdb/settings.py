"""Settings of the time series store."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from toban.core.config_types import Duration, Section, Size


class TsdbSettings(Section):
    """toban's embedded time series store, in the data folder under `tsdb/`."""

    retention: Duration = timedelta(days=90)
    """How long samples are kept. Older ones are removed, and rejected when they are appended."""

    size: Size = 2_000_000_000
    """Bytes that samples may take on disk. The oldest blocks are removed first, the newest never."""

    series: Annotated[int, Field(gt=0)] = 200_000
    """Series in all. A batch that would exceed it is rejected."""

    series_per_target: Annotated[int, Field(gt=0)] = 50_000
    """Series of one target (`job`, `instance`) that remote write accepts; a scraped target has `sample_limit`."""

    synchronous: Literal["normal", "full"] = "normal"
    """`normal`: a crash of toban loses nothing, a power cut the last seconds at most. `full`: nor does a power cut."""
