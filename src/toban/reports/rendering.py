"""Renders the content of a report: as Markdown, for a terminal, for messengers, and as plain data."""

import dataclasses
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Any
from zoneinfo import ZoneInfo

from toban.charts import terminal
from toban.core.message_catalogue import catalogue
from toban.core.notification import DocumentSection, Fact
from toban.core.number_format import MISSING
from toban.core.terminal_columns import align_columns
from toban.core.text_limits import one_line
from toban.reports.blocks import Block, Bullets, Chart, Checklist, Content, Heading, Paragraph, Table
from toban.reports.report import Report


def as_markdown(content: Content) -> str:
    """Return it as Markdown."""
    parts = [f"# {_escaped(content.title)}", *(_markdown(it) for it in content.blocks), f"*{_escaped(content.footer)}*"]
    if content.link:
        parts.append(f"[{catalogue('toban.reports', content.language)['open-page']}]({content.link})")
    return "\n\n".join(parts) + "\n"


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"## {_escaped(block.text)}"
    if isinstance(block, Paragraph):
        return f"**{_escaped(block.text)}**" if block.is_lead else _escaped(block.text)
    if isinstance(block, Bullets):
        return "\n".join(f"- {_escaped(it)}" for it in block.items)
    if isinstance(block, Checklist):
        return "\n".join(f"- [{'x' if is_done else ' '}] {_escaped(it)}" for is_done, it in block.items)
    if isinstance(block, Chart):
        return f"```\n{terminal.draw_bars(block.chart)}\n```"
    rule = ["---" if place in block.texts else "---:" for place in range(len(block.headings))]
    rows = [block.headings, *block.rows]
    lines = ["| " + " | ".join(map(_escaped, row)) + " |" for row in rows]
    return "\n".join([lines[0], f"|{'|'.join(rule)}|", *lines[1:]])


def _escaped(text: str) -> str:
    """Return a text of one line that Markdown shows as it is: parts of it come from outside."""
    shown = one_line(text)
    for character in "\\`*_[]<>|#":
        shown = shown.replace(character, f"\\{character}")
    return shown


def as_text(content: Content) -> str:
    """Return it for a terminal."""
    parts = [content.title]
    for block in content.blocks:
        if isinstance(block, Heading):
            parts += ["", block.text]
        elif isinstance(block, Chart):
            parts.append(terminal.draw_bars(block.chart))
        elif isinstance(block, Bullets):
            parts += [f"• {it}" for it in block.items]
        elif isinstance(block, Checklist):
            parts += [checked(*it) for it in block.items]
        elif isinstance(block, Table):
            parts += align_columns([block.headings, *block.rows])
        else:
            parts.append(block.text)
    return "\n".join([*parts, "", content.footer])


def checked(is_done: bool, text: str) -> str:  # an item of a checklist
    """Return an item of a checklist with its box."""
    return f"{'☑' if is_done else '☐'} {text}"


def as_sections(content: Content) -> Iterator[DocumentSection]:
    """Yield it in parts for a messenger: sentences, figures by name, charts as text."""
    section = DocumentSection()
    for block in content.blocks:
        if isinstance(block, Heading):
            yield section
            section = DocumentSection(block.text)
        elif isinstance(block, Paragraph):
            section = replace(section, lines=(*section.lines, block.text))
        elif isinstance(block, Bullets):
            section = replace(section, lines=(*section.lines, *(f"• {it}" for it in block.items)))
        elif isinstance(block, Checklist):
            section = replace(section, lines=(*section.lines, *(checked(*it) for it in block.items)))
        elif isinstance(block, Chart):
            section = replace(section, chart=terminal.draw_bars(block.chart))
        else:
            section = replace(section, facts=(*section.facts, *_facts(block)))
    yield replace(section, lines=(*section.lines, content.footer))


def _facts(table: Table) -> Iterator[Fact]:
    """Yield a fact for each row of a table: what it is of, and its figures with their headings."""
    for name, *cells in table.rows:
        pairs = zip(table.headings[1:], cells, strict=True)
        yield Fact(name, "\n".join(f"{heading}: {cell}" for heading, cell in pairs if cell != MISSING))


def as_data(report: Report) -> dict[str, Any]:
    """Return it as plain data, for JSON."""
    data: dict[str, Any] = _plain(report)
    return data


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, ZoneInfo):
        return value.key
    if isinstance(value, dict):
        return {str(key): _plain(it) for key, it in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(it) for it in value]
    return value
