"""Finds files by a pattern."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from fnmatch import translate
from pathlib import PurePath
from typing import Final

WILDCARD: Final = re.compile(r"[*?\[]")
ANY_DEPTH: Final = "**"


class FilePaths:
    """
    The paths that match a pattern, and none of those that are excluded.

    As in a shell, a wildcard matches no name that begins with a dot. ``**`` does not follow symbolic links to folders,
    because they may lead in circles.
    """

    def __init__(self, pattern: str, exclude: Sequence[str]) -> None:
        self.pattern = pattern
        parts = PurePath(pattern).parts
        if parts[-1] == ANY_DEPTH:
            parts = (*parts, "*")
        fixed = next((at for at, part in enumerate(parts[:-1]) if WILDCARD.search(part)), len(parts) - 1)
        self._root = str(PurePath(*parts[:fixed]))
        self._parts = [_Part(part) for part in parts[fixed:]]
        self._excluded_names = [_matcher(one) for one in exclude if "/" not in one]
        self._excluded_paths = [_matcher(one) for one in exclude if "/" in one]

    def find(self, unreadable: Callable[[str, OSError], None]) -> Iterator[str]:
        """Yield the paths, of whatever type they are; ``unreadable`` is called for folders that can't be listed."""
        return self._below(self._root, 0, unreadable)

    def matches(self, path: str) -> bool:
        """Return whether a path matches, by its text: nothing is looked for on disk."""
        root, parts = PurePath(self._root).parts, PurePath(path).parts
        return parts[: len(root)] == root and _matches(self._parts, parts[len(root) :]) and not self.excludes(path)

    def excludes(self, path: str) -> bool:
        """Return whether a path is excluded."""
        name = PurePath(path).name
        return any(matches(name) for matches in self._excluded_names) or any(
            matches(path) for matches in self._excluded_paths
        )

    def _below(self, folder: str, at: int, unreadable: Callable[[str, OSError], None]) -> Iterator[str]:
        part, is_last = self._parts[at], at == len(self._parts) - 1
        if part.text == ANY_DEPTH:
            yield from self._below(folder, at + 1, unreadable)
        elif part.is_fixed:
            path = f"{folder.rstrip('/')}/{part.text}"
            if not is_last:
                yield from self._below(path, at + 1, unreadable)
            elif os.path.lexists(path) and not self.excludes(path):
                yield path
            return
        for entry in _listed(folder, unreadable):
            if not part.matches(entry.name):
                continue
            if is_last:
                if not self.excludes(entry.path):
                    yield entry.path
            elif part.text == ANY_DEPTH:
                if _is_folder(entry, unreadable, follow_symlinks=False):
                    yield from self._below(entry.path, at, unreadable)
            elif _is_folder(entry, unreadable):
                yield from self._below(entry.path, at + 1, unreadable)


def _matches(pattern: Sequence["_Part"], parts: Sequence[str]) -> bool:
    """Return whether names match the parts of a pattern, one after the other."""
    # The parts of the pattern that the names so far may have come to.
    reached = {0}
    for name in parts:
        following = set[int]()
        for at in _skipped(pattern, reached):
            if at < len(pattern) and pattern[at].matches(name):
                following.add(at if pattern[at].text == ANY_DEPTH else at + 1)
        reached = following
    return len(pattern) in reached


def _skipped(pattern: Sequence["_Part"], reached: set[int]) -> set[int]:
    """Return the parts that may come next: ``**`` may stand for no folder."""
    found = set(reached)
    for at in sorted(reached):
        while at < len(pattern) and pattern[at].text == ANY_DEPTH:
            at += 1
            found.add(at)
    return found


class _Part:
    """One name in a pattern."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.is_fixed = not WILDCARD.search(text)
        self._matcher = _matcher("*" if text == ANY_DEPTH else text)
        self._hidden = text.startswith(".")

    def matches(self, name: str) -> bool:
        if self.is_fixed:
            return name == self.text
        return (self._hidden or not name.startswith(".")) and self._matcher(name)


def _matcher(pattern: str) -> Callable[[str], bool]:
    expression = re.compile(translate(pattern))
    return lambda text: bool(expression.match(text))


def _listed(folder: str, unreadable: Callable[[str, OSError], None]) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except FileNotFoundError:
        return
    except OSError as error:
        unreadable(folder, error)


def _is_folder(
    entry: os.DirEntry[str], unreadable: Callable[[str, OSError], None], *, follow_symlinks: bool = True
) -> bool:
    try:
        return entry.is_dir(follow_symlinks=follow_symlinks)
    except OSError as error:
        unreadable(entry.path, error)
        return False
