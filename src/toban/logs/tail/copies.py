"""
Recognises copies of files that are read, as logrotate makes them with `copytruncate`.

What was written between the last look and the truncation is in the copy only, so it is read where its original was.
"""

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import PurePath

from toban.logs.tail.position import WINDOW, Position, digest


class Copies:
    """
    The originals that a new file may be a copy of, by folder.

    ``lost`` are positions in content that is gone: files that were truncated or removed. ``read`` are those of files
    that are there; what is a copy of these has to wait, until it is known where its original ends.
    """

    def __init__(self, lost: Iterable[Position], read: Iterable[Position]) -> None:
        self._lost = _by_folder(position for position in lost if position.offset)
        self._read = _by_folder(read)

    def adopted(self, new: Position, file: int, size: int) -> Position | None:
        """Return where a new file goes on that has the content of one that is gone. Raises ``OSError``."""
        for position in _candidates(self._lost, new, file, size):
            if position.offset <= size and position.is_in(file):
                return position.moved_to(new)
        return None

    def original(self, new: Position, file: int, size: int) -> Position | None:
        """Return the file that is read and of which a new one is a copy, perhaps up to a part. Raises ``OSError``."""
        for position in _candidates(self._read, new, file, size):
            if position.offset and position.offset <= size:
                is_copy = position.is_in(file)
            else:
                is_copy = _has_beginning(position, file, position.offset or size)
            if is_copy:
                return position
        return None


def _by_folder(positions: Iterable[Position]) -> dict[str, list[Position]]:
    found = defaultdict[str, list[Position]](list)
    for position in positions:
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


def _has_beginning(position: Position, copy: int, most: int) -> bool:
    """Return whether an open file has the same bytes as another one, as far as both go; not where one is empty."""
    try:
        original = os.open(position.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        found = os.fstat(original)
        if (found.st_dev, found.st_ino) != position.key:
            return False  # it was renamed, and the new file may have its name
        end = min(found.st_size, os.fstat(copy).st_size, most)
        window = min(WINDOW, end)
        offsets = (0, end - window)
        return end > 0 and all(os.pread(original, window, at) == os.pread(copy, window, at) for at in offsets)
    finally:
        os.close(original)
