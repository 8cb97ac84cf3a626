"""Renders the content of a report: as Markdown, as a mail, for a terminal, and as plain data."""

import base64
import dataclasses
import html
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Any, Final
from zoneinfo import ZoneInfo

from toban.charts import png, terminal
from toban.core.message_catalogue import catalogue
from toban.core.notification import Document, DocumentSection, Fact
from toban.core.number_format import MISSING
from toban.core.terminal_columns import align_columns
from toban.core.text_limits import is_web, one_line
from toban.reports.blocks import Block, Bullets, Chart, Content, Heading, Paragraph, Table
from toban.reports.report import Report

FONT: Final = "font-family:-apple-system,'Segoe UI',Roboto,'Hiragino Sans','Noto Sans JP',sans-serif"
TEXT, NUMBER = "text-align:left", "text-align:right;white-space:nowrap"
CELL: Final = "padding:4px 10px 4px 0;border-bottom:1px solid #d5dadf;vertical-align:top"


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
        elif isinstance(block, Table):
            parts += align_columns([block.headings, *block.rows])
        else:
            parts.append(block.text)
    return "\n".join([*parts, "", content.footer])


def as_mail(content: Content) -> Document:
    """Return it as the HTML of a mail: tables, styles at each element, charts as inline images."""
    images: dict[str, bytes] = {}
    body = "".join(_html(it, images) for it in content.blocks)
    say, link = html.escape, ""
    if is_web(content.link):
        text = catalogue("toban.reports", content.language)["open-page"]
        link = f'<p><a href="{say(content.link)}" style="color:#1f6fb2">{say(text)}</a></p>'
    page = (
        f'<html lang="{content.language}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1"></head>'
        f'<body style="margin:0;padding:16px;background:#ffffff;color:#1c2126;{FONT};font-size:15px;line-height:1.5">'
        f'<div style="max-width:640px;margin:0 auto"><h1 style="font-size:20px">{say(content.title)}</h1>{body}{link}'
        f'<p style="color:#66707a;font-size:13px">{say(content.footer)}</p></div></body></html>\n'
    )
    return Document(page, images, tuple(as_sections(content)))


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


def as_page(content: Content) -> str:
    """Return it as one file of HTML, with its images in it."""
    document = as_mail(content)
    page = document.html
    for name, image in document.images.items():
        page = page.replace(f"cid:{name}", f"data:image/png;base64,{base64.b64encode(image).decode()}")
    return page


def _html(block: Block, images: dict[str, bytes]) -> str:
    say = html.escape
    if isinstance(block, Heading):
        return f'<h2 style="font-size:16px;margin:24px 0 6px">{say(block.text)}</h2>'
    if isinstance(block, Paragraph):
        size = "17px" if block.is_lead else "15px"
        return f'<p style="font-size:{size};margin:8px 0">{say(block.text)}</p>'
    if isinstance(block, Bullets):
        return "<ul>" + "".join(f"<li>{say(it)}</li>" for it in block.items) + "</ul>"
    if isinstance(block, Chart):
        name = f"chart-{len(images)}"
        images[name] = png.draw_bars(block.chart)
        first, last = block.chart.names
        return (
            f'<p style="margin:8px 0 0;color:#66707a;font-size:13px">{say(block.chart.highest)}</p>'
            f'<img src="cid:{name}" alt="{say(block.text)}" width="{png.WIDTH}" height="{png.HEIGHT}" '
            'style="width:100%;height:auto;display:block">'
            f'<table role="presentation" width="100%" style="color:#66707a;font-size:13px"><tr><td>{say(first)}</td>'
            f'<td align="right">{say(last)}</td></tr></table>'
        )
    return _html_table(block)


def _html_table(table: Table) -> str:
    """Return a table that may be scrolled where the window is narrow."""

    def cells(row: list[str], tag: str) -> str:
        return "".join(
            f'<{tag} style="{CELL};{TEXT if place in table.texts else NUMBER}">{html.escape(it)}</{tag}>'
            for place, it in enumerate(row)
        )

    head = f'<tr style="color:#66707a;font-size:13px">{cells(list(table.headings), "th")}</tr>'
    rows = "".join(f"<tr>{cells(list(row), 'td')}</tr>" for row in table.rows)
    return f'<div style="overflow-x:auto"><table style="border-collapse:collapse;width:100%">{head}{rows}</table></div>'


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
