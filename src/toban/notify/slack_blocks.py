"""A document as a message of Slack: Block Kit, within its limits (https://api.slack.com/reference/block-kit/blocks)."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from toban.core.notification import DocumentSection, Fact, Link, Notification
from toban.core.text_limits import is_web, truncate

MOST_BLOCKS: Final = 50
"""Blocks of a message; a longer text than these limits is refused, not cut."""
HEADER: Final = 150
TEXT: Final = 2_900
FIELD: Final = 1_900
FIELDS: Final = 10
"""Fields of one block."""


def escaped(text: str) -> str:
    """Return a text in which nothing pings people or makes links."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def link_text(link: Link) -> str:
    """Return a link, or its text where it leads nowhere."""
    return f"<{link.href}|{escaped(link.text)}>" if is_web(link.href) else escaped(link.text)


def render_document(notification: Notification, sections: Sequence[DocumentSection]) -> dict[str, Any]:
    """Return a message with the sections of a document; what does not fit is left out for the link at its end."""
    blocks: list[dict[str, Any]] = [
        {"type": "header", "text": {"type": "plain_text", "text": truncate(notification.title, HEADER)}}
    ]
    for section in sections:
        blocks += _section(section)
    links = " · ".join(map(link_text, notification.links))
    end = [{"type": "context", "elements": [_mrkdwn(truncate(links, TEXT))]}] if links else []
    return {
        "text": truncate(notification.title, TEXT, escaped),
        "blocks": [*blocks[: MOST_BLOCKS - len(end)], *end],
        "unfurl_links": False,
    }


def _section(section: DocumentSection) -> Iterator[dict[str, Any]]:
    """Yield the blocks of a section: its heading and text, its figures as fields, its chart."""
    heading = f"*{truncate(section.heading, HEADER, escaped)}*" if section.heading else ""
    room = TEXT - len(heading) - 1
    text = "\n".join(it for it in (heading, truncate("\n".join(section.lines), room, escaped)) if it)
    if text:
        yield {"type": "section", "text": _mrkdwn(text)}
    for place in range(0, len(section.facts), FIELDS):
        yield {"type": "section", "fields": [_field(it) for it in section.facts[place : place + FIELDS]]}
    if section.chart:
        # Uploading the picture would need the scope files:write; as text it needs none.
        yield {
            "type": "context",
            "elements": [_mrkdwn(f"`{truncate(section.chart.replace('`', ''), FIELD, escaped)}`")],
        }


def _field(fact: Fact) -> dict[str, str]:
    name = truncate(fact.name, FIELD // 2, escaped)
    return _mrkdwn(f"*{name}*\n{truncate(fact.value, FIELD // 2, escaped)}")


def _mrkdwn(text: str) -> dict[str, str]:
    return {"type": "mrkdwn", "text": text}
