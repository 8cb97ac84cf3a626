"""A backup as a source lists it: when it was made, and how large it is."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class BackupRecord:
    """
    A backup of some source.

    ``size`` is None where sizes of a source can't be compared; ``is_archive`` is whether it can be read from a place.
    """

    name: str
    time: datetime
    size: int | None
    is_archive: bool = False
