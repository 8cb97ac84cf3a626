"""Tries to read log files, keeping nothing."""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Final

from toban.core.file_paths import FilePaths
from toban.logs.settings import LogFiles

MOST: Final = 1_000
"""Files that are tried of each pattern."""


@dataclass(slots=True)
class PatternCheck:
    """How many files of a pattern can be read, and why some can't."""

    pattern: str
    readable: int = 0
    errors: list[str] = field(default_factory=list)

    @property
    def message(self) -> str:
        """The result in a sentence."""
        if self.errors:
            return "; ".join(self.errors[:5])
        if not self.readable:
            return "no file matches: is the path that of this machine, and do the files exist yet?"
        return f"{self.readable} {'file' if self.readable == 1 else 'files'} readable"


def check_files(settings: Sequence[LogFiles]) -> list[PatternCheck]:
    """Try each pattern; what is no regular file is left out, as it is when reading."""
    return [_check(one) for one in settings]


def _check(settings: LogFiles) -> PatternCheck:
    check = PatternCheck(settings.path)

    def unreadable(path: str, error: OSError) -> None:
        check.errors.append(f"{path}: {error.strerror or error}: give toban's user the right to read it")

    for path in islice(FilePaths(settings.path, settings.exclude).find(unreadable), MOST):
        try:
            if stat.S_ISREG(Path(path).stat().st_mode):
                with open(path, "rb", opener=_open_regular):
                    check.readable += 1
        except FileNotFoundError:
            continue
        except OSError as error:
            unreadable(path, error)
    return check


def _open_regular(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)
