"""Columns of a terminal: how many a text takes, and tables that are aligned."""

import unicodedata
from collections.abc import Iterable, Sequence

from toban.core.terminal_escapes import escape_line


def align_columns(rows: Iterable[Sequence[str]]) -> list[str]:
    """Align cells in columns, each row on one line."""
    table = [tuple(escape_line(cell) for cell in row) for row in rows]
    widths = [max(map(text_width, column)) for column in zip(*table, strict=True)]
    return [
        "  ".join(cell + " " * (width - text_width(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in table
    ]


def wrap_cells(row: Sequence[str], columns: int) -> list[str]:
    """Return the cells of a row on as few lines as fit, each but the first one indented; none is cut."""
    lines = [""]
    for cell in filter(None, map(escape_line, row)):
        longer = f"{lines[-1]}  {cell}" if lines[-1].strip() else lines[-1] + cell
        if text_width(longer) > columns and lines[-1].strip():
            lines.append(f"    {cell}")
        else:
            lines[-1] = longer
    return lines


def text_width(text: str) -> int:
    """Return how many columns a text takes: a Japanese character takes two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def cut_text(text: str, columns: int, end: str = "…") -> str:
    """Return a text that takes so many columns at most."""
    if text_width(text) <= columns:
        return text
    while text and text_width(text) + len(end) > columns:
        text = text[:-1]
    return text + end
