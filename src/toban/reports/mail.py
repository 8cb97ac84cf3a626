"""
Renders a report as the HTML of a mail.

Mail clients show less than browsers: tables, styles at each element, images that the mail brings. Gmail and Apple Mail
read the styles of the head as well: these make it readable in the dark and on a phone, where a row of a table becomes a
paragraph. Outlook ignores them. Gmail cuts off what is longer than 102 kB.
"""

import base64
import html
import math
from collections.abc import Mapping, Sequence
from typing import Final

from toban.charts import png
from toban.core.message_catalogue import catalogue
from toban.core.notification import Document
from toban.core.text_limits import is_web
from toban.reports.blocks import Block, Bullets, Chart, Checklist, Content, Heading, Paragraph, Table
from toban.reports.rendering import as_sections, checked

MOST_BYTES: Final = 95_000
"""What Gmail does not cut off, with some room for what it adds."""

FONT: Final = "font-family:-apple-system,'Segoe UI',Roboto,'Hiragino Sans','Noto Sans JP',sans-serif"
FAINT: Final = "color:#5c6670;font-size:13px"
LINE: Final = "border-bottom:1px solid #d5dadf"
CELL: Final = f"padding:6px 12px 6px 0;vertical-align:top;{LINE}"
TEXT, NUMBER = "text-align:left", "text-align:right;white-space:nowrap"
PRESENTATION: Final = 'role="presentation" cellpadding="0" cellspacing="0" border="0" width="100%"'

STYLES: Final = """
:root { color-scheme: light dark }
@media (prefers-color-scheme: dark) {
  .page { background: #14181c !important; color: #e4e8ec !important }
  .lead { background: #1c2a36 !important }
  .faint { color: #9aa5af !important }
  .cell { border-color: #39424b !important }
  a { color: #6db3ee !important }
}
@media (max-width: 520px) {
  .head { display: none !important }
  .row { display: block !important; padding: 6px 0 !important; border-bottom: 1px solid #8a939c }
  .row .cell { display: inline-block !important; border: 0 !important; padding: 0 14px 0 0 !important;
    text-align: left !important; white-space: normal !important }
  .row .first { display: block !important; font-weight: 600 }
  .name { display: inline !important }
}
"""


def as_mail(content: Content) -> Document:
    """Return it as the HTML of a mail with its images, and in parts for messengers."""
    page, images = _drawn(content, MOST_BYTES)
    return Document(page, images, tuple(as_sections(content)))


def _drawn(content: Content, most: float) -> tuple[str, dict[str, bytes]]:
    """Return the page and its images; blocks that make it longer than so many bytes are left out."""
    images: dict[str, bytes] = {}
    say = catalogue("toban.reports", content.language)
    parts: list[str] = []
    for block in content.blocks:
        part = _html(block, images)
        most -= len(part.encode())
        if most < 0:
            parts.append(_paragraph(say["cut"]))
            break
        parts.append(part)
    return _page(content, "".join(parts), say), images


def _page(content: Content, body: str, say: Mapping[str, str]) -> str:
    escape, link = html.escape, ""
    if is_web(content.link):
        link = (
            f'<p style="margin:24px 0 8px"><a href="{escape(content.link)}" style="color:#1f6fb2;font-weight:600">'
            f"{escape(say['open-page'])}</a></p>"
        )
    return (
        f'<!DOCTYPE html><html lang="{content.language}"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark"><meta name="supported-color-schemes" content="light dark">'
        f"<title>{escape(content.title)}</title><style>{STYLES}</style></head>"
        '<body class="page" style="margin:0;padding:0;background:#ffffff;color:#1c2126">'
        f'<table {PRESENTATION} class="page" style="background:#ffffff;color:#1c2126"><tr><td align="center">'
        '<table role="presentation" cellpadding="0" cellspacing="0" border="0" width="640" '
        'style="width:100%;max-width:640px"><tr>'
        f'<td style="padding:20px 16px;{FONT};font-size:15px;line-height:1.5;text-align:left">'
        f'<h1 style="margin:0 0 12px;font-size:21px;line-height:1.3">{escape(content.title)}</h1>{body}{link}'
        f'<p class="faint" style="margin:16px 0 0;{FAINT}">{escape(content.footer)}</p>'
        "</td></tr></table></td></tr></table></body></html>\n"
    )


def as_page(content: Content) -> str:
    """Return it as one file of HTML, with its images in it."""
    page, images = _drawn(content, math.inf)
    for name, image in images.items():
        page = page.replace(f"cid:{name}", f"data:image/png;base64,{base64.b64encode(image).decode()}")
    return page


def _html(block: Block, images: dict[str, bytes]) -> str:
    escape = html.escape
    if isinstance(block, Heading):
        return f'<h2 style="margin:28px 0 6px;font-size:16px;line-height:1.3">{escape(block.text)}</h2>'
    if isinstance(block, Paragraph):
        return _lead(block.text) if block.is_lead else _paragraph(block.text)
    if isinstance(block, Bullets):
        return _list(block.items, "padding-left:20px")
    if isinstance(block, Checklist):
        return _list([checked(*it) for it in block.items], "padding-left:0;list-style:none")
    return _chart(block, images) if isinstance(block, Chart) else _table(block)


def _list(items: Sequence[str], style: str) -> str:
    listed = "".join(f'<li style="margin:2px 0">{html.escape(it)}</li>' for it in items)
    return f'<ul style="margin:8px 0;{style}">{listed}</ul>'


def _lead(text: str) -> str:
    return (
        f'<table {PRESENTATION}><tr><td class="lead" style="padding:12px 16px;background:#eef5fb;'
        f'border-left:4px solid #3d8bcf;font-size:17px">{html.escape(text)}</td></tr></table>'
    )


def _paragraph(text: str) -> str:
    return f'<p style="margin:8px 0">{html.escape(text)}</p>'


def _chart(block: Chart, images: dict[str, bytes]) -> str:
    escape, name = html.escape, f"chart-{len(images)}"
    images[name] = png.draw_bars(block.chart)
    first, last = block.chart.names
    return (
        f'<p class="faint" style="margin:16px 0 2px;{FAINT}">{escape(block.chart.highest)}</p>'
        f'<img src="cid:{name}" alt="{escape(block.text)}" width="{png.WIDTH}" height="{png.HEIGHT}" '
        'style="width:100%;height:auto;display:block">'
        f'<table {PRESENTATION}><tr><td class="faint" style="{FAINT}">{escape(first)}</td>'
        f'<td class="faint" align="right" style="{FAINT}">{escape(last)}</td></tr></table>'
    )


def _table(table: Table) -> str:
    """Return a table; on a phone each cell has the name of its column instead of a head."""

    def cell(tag: str, place: int, text: str, name: str = "") -> str:
        kind = "cell first" if place == 0 else "cell"
        style = f"{CELL};{TEXT if place in table.texts else NUMBER}"
        return f'<{tag} class="{kind}" style="{style}">{name}{html.escape(text)}</{tag}>'

    def named(place: int) -> str:
        heading = table.headings[place] if place else ""
        hidden = "display:none;mso-hide:all"
        return f'<span class="name faint" style="{hidden};{FAINT}">{html.escape(heading)} </span>' if heading else ""

    head = "".join(cell("th", place, it) for place, it in enumerate(table.headings))
    rows = "".join(
        f'<tr class="row">{"".join(cell("td", place, it, named(place)) for place, it in enumerate(row))}</tr>'
        for row in table.rows
    )
    return (
        '<table cellpadding="0" cellspacing="0" border="0" width="100%" style="border-collapse:collapse">'
        f'<tr class="head faint" style="{FAINT}">{head}</tr>{rows}</table>'
    )
