"""The parts of a notification that messengers show, each on one line and without invisible characters."""

from dataclasses import dataclass
from typing import Literal

from toban.core.notification import Fact, Link, Notification, NotificationKind
from toban.core.text_limits import is_web, one_line
from toban.notify.texts import texts

Tone = Literal["critical", "warning", "info"]


@dataclass(frozen=True, slots=True)
class MessageParts:
    """What a message says. Nothing is escaped: what is special differs from service to service."""

    state: str
    """Firing, resolved, …, in the team's language."""
    title: str
    lines: tuple[str, ...]
    facts: tuple[Fact, ...]
    """The severity and the shop, then the facts of the notification."""
    links: tuple[Link, ...]
    """Where to look; all of them are web addresses."""
    tone: Tone
    """The color: that of the severity; what is resolved is like info."""

    @property
    def headline(self) -> str:
        """The state and what is wrong."""
        return f"{self.state}: {self.title}"

    @property
    def change(self) -> str:
        """The state and the first thing there is to say: for a reply to the first message of a group."""
        return ": ".join([self.state, *self.lines[:1]])


def message_parts(notification: Notification, shop: str) -> MessageParts:
    """Return the parts of a notification; ``shop`` is the name of the shop, empty for none."""
    say = texts(notification.language)
    named = [Fact(say["severity"], notification.severity.upper()), *([Fact(say["shop"], shop)] if shop else [])]
    facts = named if notification.kind is not NotificationKind.NOTICE else named[1:]
    tone: Tone = "warning"
    if notification.is_resolved or notification.severity == "info":
        tone = "info"
    elif notification.severity == "critical":
        tone = "critical"
    return MessageParts(
        say[f"kind-{notification.kind.value}"],
        one_line(notification.title) or say["untitled"],
        tuple(filter(None, map(one_line, notification.lines))),
        tuple(Fact(one_line(name), one_line(value)) for name, value in (*facts, *notification.facts) if value),
        tuple(Link(one_line(link.text), link.href) for link in notification.links if is_web(link.href)),
        tone,
    )


def plain_text(parts: MessageParts) -> str:
    """Return what there is to say below the title as text: the lines, then the facts."""
    return "\n".join([*parts.lines, *(f"{name}: {value}" for name, value in parts.facts)])
