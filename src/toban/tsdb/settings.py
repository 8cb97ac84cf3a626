"""How long toban keeps numbers."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from toban.core.config_types import Duration, Section, Size


class TsdbSettings(Section):
    """toban's own store of numbers, in the data folder under `tsdb/`."""

    retention: Duration = timedelta(days=90)
    """How long numbers are kept. Older ones are removed, and not taken in."""

    size: Size = 2_000_000_000
    """How many bytes numbers may take on disk. The oldest go first, the newest block never."""

    series: Annotated[int, Field(gt=0)] = 200_000
    """How many series there may be in all. What would go beyond is refused."""

    series_per_target: Annotated[int, Field(gt=0)] = 50_000
    """How many series of one target (`job`, `instance`) others may write here; a scraped one has `sample_limit`."""

    synchronous: Literal["normal", "full"] = "normal"
    """`normal`: a crash of toban loses nothing, a power cut the last seconds at most. `full`: nor does a power cut."""
