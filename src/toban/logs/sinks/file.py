"""Files in winston's shape: `error.log` and `combined.log`."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Annotated, ClassVar, Final, Literal

import orjson
from pydantic import Field

from toban.core.config_types import Size
from toban.core.connection_check import ConnectionCheck
from toban.core.errors import DeliveryError
from toban.core.log_line import LogLevel
from toban.core.untyped_json import as_mapping
from toban.core.winston_json import winston_json
from toban.logs.line_store import StoredLine
from toban.logs.sink import Sink, SinkTools

COMBINED: Final = "combined.log"
ERRORS: Final = "error.log"
"""The files of the original design; the second has the errors alone."""


class File(Sink):
    """
    Write lines into `combined.log`, and errors into `error.log` too, one JSON object a line as winston writes them.

    A file that has reached its size becomes `combined.log.1`, that one `combined.log.2`, and so on.
    """

    max_lines: ClassVar[int] = 1_000

    kind: Literal["file"] = "file"

    folder: Path
    """The folder; it is made where it does not exist."""

    max_size: Size = 50_000_000
    """How large a file may become."""

    max_files: Annotated[int, Field(ge=1, le=1000)] = 10
    """How many files are kept, the newest included."""

    async def ship(self, lines: Sequence[StoredLine], tools: SinkTools) -> Mapping[str, int]:
        """Write lines, and make sure that they are on disk. What a crash left behind is not written again."""
        try:
            await asyncio.to_thread(self._write, lines)
        except OSError as error:
            raise DeliveryError(f"{self.folder}: {(error.strerror or str(error)).lower()}") from error
        return {}

    async def check_connection(self, tools: SinkTools) -> ConnectionCheck:
        """Try to make a file in the folder, or where it will be made; nothing is left behind."""
        return await asyncio.to_thread(self._check)

    def _check(self) -> ConnectionCheck:
        place = self.folder
        while not place.exists() and place != place.parent:
            place = place.parent
        try:
            with TemporaryFile(dir=place):
                pass
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            return ConnectionCheck(ok=False, message=f"{place}: {reason}: give toban's user the right to write there")
        if place == self.folder:
            return ConnectionCheck(ok=True, message="the folder is writable")
        return ConnectionCheck(ok=True, message=f"the folder will be made in {place}, which is writable")

    def _write(self, lines: Sequence[StoredLine]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        errors = [stored for stored in lines if stored.line.level is LogLevel.ERROR]
        for name, chosen in ((COMBINED, lines), (ERRORS, errors)):
            if chosen:
                self._append(self.folder / name, chosen)

    def _append(self, path: Path, lines: Sequence[StoredLine]) -> None:
        last = max(_last_number(path), _last_number(path.with_name(f"{path.name}.1")))
        new = [it for it in lines if it.position.number > last]
        if not new:
            return
        if path.exists() and path.stat().st_size >= self.max_size:
            self._rotate(path)
        with path.open("ab") as file:
            file.write(b"".join(_encoded(stored) for stored in new))
            file.flush()
            os.fsync(file.fileno())

    def _rotate(self, path: Path) -> None:
        for number in range(self.max_files - 1, 0, -1):
            older = path.with_name(f"{path.name}.{number}")
            newer = path.with_name(f"{path.name}.{number - 1}") if number > 1 else path
            if newer.exists():
                newer.replace(older)
        path.unlink(missing_ok=True)


def _encoded(stored: StoredLine) -> bytes:
    fields = {**winston_json(stored.line), "number": stored.position.number}
    return orjson.dumps(fields, option=orjson.OPT_SORT_KEYS) + b"\n"


def _last_number(path: Path) -> int:
    """Return the number of the last line of a file; a line that a crash has cut off is removed."""
    if not path.exists():
        return 0
    with path.open("r+b") as file:
        size, length, tail = file.seek(0, os.SEEK_END), 65_536, b""
        while tail.count(b"\n") < 2 and len(tail) < size:
            file.seek(max(0, size - length))
            tail, length = file.read(), length * 4
        complete = tail[: tail.rfind(b"\n") + 1]
        if len(complete) < len(tail):
            file.truncate(size - len(tail) + len(complete))
    last = complete.rstrip(b"\n").rpartition(b"\n")[2]
    try:
        number = as_mapping(orjson.loads(last)).get("number")
    except ValueError:
        return 0
    return number if isinstance(number, int) else 0
