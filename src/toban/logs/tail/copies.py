"""
Recognises copies of files that are read, as logrotate makes them with `copytruncate`.

What was written between the last look and the truncation is in the copy only, so it is read where its original was.
"""

import os
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import replace
from pathlib import PurePath

from toban.logs.tail.position import WINDOW, Position, digest


class Copies:
    """
    The originals that a new file may be a copy of, by folder.

    ``lost`` are positions in content that is gone: files that were truncated or removed. ``read`` are those of files
    that are there; what is a copy of these has to wait, until it is known where its original ends.
    """

    def __init__(self, lost: Iterable[Position], read: Iterable[Position]) -> None:
        self._lost = _by_folder(lost)
        self._read = _by_folder(read)

    def adopted(self, new: Position, file: int, size: int) -> Position | None:
        """Return where a new file goes on that has the content of one that is gone. Raises ``OSError``."""
        for position in _candidates(self._lost, new, file, size):
            if position.offset <= size and position.is_in(file):
                return replace(
                    new,
                    offset=position.offset,
                    head=position.head,
                    before=position.before,
                    in_cut_line=position.in_cut_line,
                )
        return None

    def original(self, new: Position, file: int, size: int) -> Position | None:
        """Return the file that is read and of which a new one is a copy, perhaps up to a part. Raises ``OSError``."""
        for position in _candidates(self._read, new, file, size):
            end = min(position.offset, size)
            window = min(WINDOW, end)
            mine = os.pread(file, window, end - window)
            if position.follows(mine) if end == position.offset else mine == _bytes(position, window, end - window):
                return position
        return None


def _by_folder(positions: Iterable[Position]) -> dict[str, list[Position]]:
    found = defaultdict[str, list[Position]](list)
    for position in positions:
        if position.offset:
            found[position.folder].append(position)
    return found


def _candidates(known: dict[str, list[Position]], new: Position, file: int, size: int) -> Iterable[Position]:
    """Yield the positions of files in the same folder, with the same head, and whose name begins as the new one's."""
    heads: dict[int, str] = {}
    for position in known.get(new.folder, ()):
        if position.window > size or not is_generation(new.path, position.path):
            continue
        if position.window not in heads:
            heads[position.window] = digest(os.pread(file, position.window, 0))
        if heads[position.window] == position.head:
            yield position


def is_generation(path: str, original: str) -> bool:
    """Return whether a file is named as a rotated generation of another: `app.log.1` or `app-20260131.log`."""
    return PurePath(path).name.startswith(PurePath(original).name.split(".")[0])


def _bytes(position: Position, size: int, offset: int) -> bytes:
    """Return bytes of the file that a position is in, none when it is gone."""
    try:
        file = os.open(position.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.pread(file, size, offset)
    finally:
        os.close(file)
