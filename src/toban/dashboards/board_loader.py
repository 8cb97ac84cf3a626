"""Loads boards: those that toban ships, and the user's own files."""

import importlib
import pkgutil
from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from toban.core.config_types import readable_error
from toban.core.errors import NotFoundError, SettingsError
from toban.core.paths import matching_files, read_text
from toban.core.yaml_loader import load_yaml
from toban.dashboards import boards
from toban.dashboards.board import Board
from toban.dashboards.settings import DashboardSettings


class Boards:
    """The boards of some settings, loaded when somebody asks for one first."""

    def __init__(self, settings: DashboardSettings) -> None:
        self._settings = settings

    @cached_property
    def by_name(self) -> Mapping[str, Board]:
        """All boards, by their names."""
        return {board.name: board for board in load_boards(self._settings)}

    def get(self, name: str) -> Board:
        """Return a board by its name. Raises ``NotFoundError``."""
        if name not in self.by_name:
            raise NotFoundError(f"no board {name[:40]!r}: there are {', '.join(self.by_name)}")
        return self.by_name[name]


@cache
def shipped_boards() -> tuple[Board, ...]:
    """Return the boards that toban ships: each module of `boards` has a `BOARD`."""
    names = sorted(module.name for module in pkgutil.iter_modules(boards.__path__))
    return tuple(importlib.import_module(f"{boards.__name__}.{name}").BOARD for name in names)


def load_boards(settings: DashboardSettings) -> list[Board]:
    """Return all boards by name; a user's own replaces a shipped one. Raises ``SettingsError`` with every mistake."""
    mistakes: list[str] = []
    own: dict[str, tuple[Path, Board]] = {}
    for pattern in settings.boards:
        try:
            for path in matching_files(pattern, "dashboards.boards"):
                board = parse_board(read_text(path), str(path))
                if board.name in own:
                    raise SettingsError(f"{path}: the board {board.name!r} is in {own[board.name][0]} too")
                own[board.name] = path, board
        except SettingsError as error:
            mistakes.append(str(error))
    if mistakes:
        raise SettingsError("\n".join(mistakes))
    found = {board.name: board for board in shipped_boards()} | {name: board for name, (_, board) in own.items()}
    return [found[name] for name in sorted(found)]


def parse_board(text: str, file: str) -> Board:
    """Parse a board's file. Raises ``SettingsError`` that names every mistake and where it is."""
    try:
        written = load_yaml(text)
    except ValueError as error:
        raise SettingsError(f"{file}: {error}") from error
    try:
        return Board.model_validate(written)
    except ValidationError as error:
        found = error.errors()
        # That a list lacks entries follows from those of them that are invalid.
        causes = [one for one in found if not any(_is_above(one["loc"], other["loc"]) for other in found)]
        raise SettingsError("\n".join(f"{file}: {_located(one)}" for one in causes)) from error


def _is_above(place: tuple[int | str, ...], other: tuple[int | str, ...]) -> bool:
    return len(place) < len(other) and other[: len(place)] == place


def _located(details: ErrorDetails) -> str:
    place = ".".join(map(str, details["loc"]))
    return f"{place}: {readable_error(details)}" if place else readable_error(details)
