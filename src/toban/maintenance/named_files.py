"""The files that a configuration names: rule files, runbooks, boards and certificates are backed up, secrets not."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from toban.core.config_file import expand_variables, parse
from toban.core.errors import SettingsError, TobanError
from toban.core.number_format import format_bytes
from toban.core.paths import matching_files, read_text

PATTERNS: Final = (("alerting", "rules"), ("runbooks", "files"), ("dashboards", "boards"))
"""Settings whose patterns name files, relative to the folder of the configuration."""
CERTIFICATE: Final = "ca"
FILE_SUFFIX: Final = "_file"
"""What the names of settings end with whose value is a file with a secret."""
MAX_FILES: Final = 2_000
MAX_SIZE: Final = 16 * 2**20
"""Bytes of one file: a rule file has some thousand."""


@dataclass(frozen=True, slots=True)
class NamedFile:
    """A file that a setting names, and whether it is named relative to the configuration, whose place it keeps then."""

    setting: str
    path: Path
    inside: Path | None = None
    """Its path within the folder of the configuration; None where it is elsewhere."""


@dataclass(frozen=True, slots=True)
class NamedFiles:
    """What a configuration names; ``problems`` are what is named and not there."""

    files: tuple[NamedFile, ...] = ()
    secrets: tuple[NamedFile, ...] = ()
    problems: tuple[str, ...] = ()


def named_files(config: Path, environment: Mapping[str, str]) -> NamedFiles:
    """
    Return the files that a configuration names, also one with mistakes elsewhere.

    Raises ``TobanError`` where there are too many, or one is too large.
    """
    document = parse(read_text(config))
    expand_variables(document, environment)
    tree, folder = document.tree, config.absolute().parent
    files: dict[Path, NamedFile] = {}
    secrets, problems = list[NamedFile](), list[str]()
    for setting, pattern in _patterns(tree):
        try:
            for path in matching_files(str(folder / pattern), setting):
                relative = Path(os.path.relpath(path, folder))
                keeps_place = not Path(pattern).is_absolute() and ".." not in relative.parts
                files[path] = NamedFile(setting, path, relative if keeps_place else None)
        except SettingsError as error:
            problems.append(str(error))
    for setting, value in _paths(tree, ()):
        path = Path(value).absolute()
        if setting.endswith(FILE_SUFFIX):
            secrets.append(NamedFile(setting, path))
        elif path.is_file():
            files.setdefault(path, NamedFile(setting, path))
        else:
            problems.append(f"{setting}: {value!r}: no such file")
    _check_sizes(list(files.values()))
    return NamedFiles(tuple(files.values()), tuple(secrets), tuple(problems))


def _patterns(tree: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for section, name in PATTERNS:
        settings = tree.get(section)
        found = settings.get(name) if isinstance(settings, dict) else None
        for it in found if isinstance(found, list) else [found]:
            if isinstance(it, str):
                yield f"{section}.{name}", it


def _paths(value: object, place: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Yield the settings, at any depth, whose name says that their value is one file."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from _paths(inner, (*place, str(name)))
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _paths(inner, (*place, str(number)))
    elif isinstance(value, str) and place and (place[-1] == CERTIFICATE or place[-1].endswith(FILE_SUFFIX)):
        yield ".".join(place), value


def _check_sizes(files: list[NamedFile]) -> None:
    if len(files) > MAX_FILES:
        raise TobanError(f"the configuration names {len(files):,} files: at most {MAX_FILES:,} are backed up")
    for it in files:
        size = it.path.stat().st_size
        if size > MAX_SIZE:
            raise TobanError(f"{it.setting}: {it.path} has {format_bytes(size)}: it is no file of a configuration")
