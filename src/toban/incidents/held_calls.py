"""Calls that were held back by quiet hours or a silence: whoever is called about several gets one message."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from toban.core.message_catalogue import catalogue
from toban.core.notification import Notification
from toban.core.text_limits import one_line, truncate
from toban.incidents.incident import EntryKind, Incident
from toban.incidents.lifecycle import Change

LISTED: Final = 10
"""How many incidents one message lists."""
LINE: Final = 200


def released_calls(before: Incident, change: Change) -> Sequence[Notification]:
    """Return the calls of a step that was held until now; none of a step that was not."""
    if before.escalation is None or not before.escalation.held or not change.entries:
        return ()
    last = change.entries[-1]
    if last.kind is not EntryKind.PAGED:
        return ()
    # Calling is the last thing that happens to an incident: these messages are the last ones.
    return change.messages[-len(last.facts["channels"]) :]


def summarized(
    messages: Sequence[Notification], released: Sequence[tuple[Incident, Notification]], language: str
) -> list[Notification]:
    """
    Return messages, with one in place of several released calls to the same channel.

    It is that of the most urgent incident, and lists the others.
    """
    say = catalogue("toban.incidents", language)
    calls: dict[str, list[tuple[Incident, Notification]]] = {}
    for incident, message in released:
        calls.setdefault(message.receiver, []).append((incident, message))
    instead: dict[str, Notification | None] = {}
    for found in calls.values():
        (_, first), *others = sorted(found, key=lambda it: (it[0].priority, it[0].opened, it[0].id))
        if others:
            lines = [say["message-held-more"].format(many=len(others))]
            lines += [
                truncate(one_line(f"• #{it.id} {it.priority} {it.titled(language)}"), LINE) for it, _ in others[:LISTED]
            ]
            instead[first.key] = replace(first, lines=(*first.lines, *lines))
            instead.update({message.key: None for _, message in others})
    sent = (instead.get(message.key, message) for message in messages)
    return [message for message in sent if message is not None]
