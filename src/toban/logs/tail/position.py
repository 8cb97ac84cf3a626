"""How far a file was read, as it is stored with its lines."""

import hashlib
import json
import os
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Final, Self

PREFIX: Final = "files/"
"""What the names of these cursors begin with."""

WINDOW: Final = 1024
"""Bytes at the head of a file, and before the offset, by which it is recognised."""


@dataclass(frozen=True, slots=True)
class Position:
    """
    How far a file was read.

    ``head`` and ``before`` are digests of the first bytes, and of those before the offset, up to ``WINDOW`` of them:
    a file of the same device and inode with others is a new one, or was truncated. ``in_cut_line`` tells that the rest
    of a line is to be skipped, ``is_gone`` that the file was removed. ``pattern`` is that of the settings; ``stored``
    is the time when it was stored, in seconds since the epoch.
    """

    device: int
    inode: int
    path: str
    pattern: str
    offset: int = 0
    head: str = ""
    before: str = ""
    in_cut_line: bool = False
    is_gone: bool = False
    stored: int = 0

    @property
    def cursor(self) -> str:
        """The name of its cursor."""
        return f"{PREFIX}{self.device}:{self.inode}"

    @property
    def folder(self) -> str:
        """The folder of the file."""
        return str(PurePath(self.path).parent)

    @property
    def key(self) -> tuple[int, int]:
        """The device and the inode."""
        return self.device, self.inode

    @property
    def window(self) -> int:
        """How many bytes the digests are of."""
        return min(WINDOW, self.offset)

    def encoded(self, now: float) -> str:
        """Return the value of the cursor."""
        flags = (self.in_cut_line, self.is_gone)
        return json.dumps([self.path, self.pattern, self.offset, self.head, self.before, *flags, int(now)])

    def moved(self, offset: int, data: bytes, *, in_cut_line: bool = False) -> "Position":
        """Return a position further on; ``data`` is what was read, from the first of the bytes before this one on."""
        start = self.offset - self.window
        before = digest(data[max(0, offset - WINDOW) - start : offset - start])
        head = self.head if self.offset >= WINDOW else digest(data[: min(WINDOW, offset)])
        return replace(self, offset=offset, head=head, before=before, in_cut_line=in_cut_line, is_gone=False)

    def moved_to(self, file: "Position") -> "Position":
        """Return the same position in another file, of which ``file`` is a position."""
        return replace(
            file, offset=self.offset, head=self.head, before=self.before, in_cut_line=self.in_cut_line, is_gone=False
        )

    def at(self, file: int, offset: int) -> "Position":
        """Return a position in an open file. Raises ``OSError``."""
        window = min(WINDOW, offset)
        head, before = os.pread(file, window, 0), os.pread(file, window, offset - window)
        return replace(self, offset=offset, head=digest(head), before=digest(before), in_cut_line=False)

    def follows(self, data: bytes) -> bool:
        """Return whether these are the bytes before this position."""
        return len(data) == self.window and digest(data) == self.before

    def has_head(self, file: int) -> bool:
        """Return whether the head of an open file is that of this position. Raises ``OSError``."""
        return digest(os.pread(file, self.window, 0)) == self.head

    def is_in(self, file: int) -> bool:
        """Return whether the bytes of an open file are those of this position. Raises ``OSError``."""
        return self.follows(os.pread(file, self.window, self.offset - self.window)) and self.has_head(file)

    @classmethod
    def decoded(cls, name: str, value: str) -> Self | None:
        """Return the position of a cursor; None when it can't be read."""
        try:
            device, inode = map(int, name.removeprefix(PREFIX).split(":"))
            path, pattern, offset, head, before, in_cut_line, is_gone, stored = json.loads(value)
        except (ValueError, TypeError):
            return None
        return cls(device, inode, path, pattern, offset, head, before, in_cut_line, is_gone, stored)


def digest(data: bytes) -> str:
    """Return a short digest of some bytes, empty for none."""
    return hashlib.blake2b(data, digest_size=8).hexdigest() if data else ""
