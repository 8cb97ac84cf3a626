"""Messages to people whose shifts start, or somebody has changed or could take."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final

from toban.core.message_catalogue import catalogue
from toban.core.notification import Link, Notification, NotificationKind
from toban.core.text_limits import one_line, truncate
from toban.oncall.policy import OnCallPolicy
from toban.oncall.schedule import StoredOverride

LINE: Final = 500


def schedule_notices(
    policy: OnCallPolicy, reason: str, made: StoredOverride, people: Iterable[str], by: str, now: datetime
) -> list[Notification]:
    """
    Return a message to the first channel of each person but whoever did it; times are in the person's zone.

    ``reason`` is the key of the sentence that says what has changed, ``by`` the name of the user who did it.
    """
    say = catalogue("toban.oncall", policy.language)
    found: list[Notification] = []
    for name in dict.fromkeys(people):
        known = policy.on_call.people.get(name)
        if known is None or by in {name, known.user}:
            continue
        title = say[f"shift-{reason}"].format(
            person=policy.name_of(made.person),
            instead_of=policy.name_of(made.instead_of),
            start=_time(policy, name, made.starts),
            end=_time(policy, name, made.ends),
        )
        lines = [say["shift-by"].format(by=by), *([made.comment] if made.comment else [])]
        if reason == "offered":
            lines.append(say["shift-take"].format(id=made.id))
        found += _notices(policy, name, f"oncall-{made.id}-{reason}-{name}", title, lines, now)
    return list({it.receiver: it for it in found}.values())


def shift_notice(
    policy: OnCallPolicy,
    person: str,
    start: datetime,
    end: datetime,
    before: Sequence[str],
    after: Sequence[str],
    now: datetime,
) -> list[Notification]:
    """Return the message to a person whose shift has started: until when, after whom and before whom."""
    say = catalogue("toban.oncall", policy.language)
    title = say["shift-started"].format(end=_time(policy, person, end))
    lines = [say["shift-since"].format(start=_time(policy, person, start))]
    if others := [policy.name_of(it) for it in before if it != person]:
        lines.append(say["shift-after"].format(people=", ".join(others)))
    if others := [policy.name_of(it) for it in after if it != person]:
        lines.append(say["shift-before"].format(people=", ".join(others)))
    return _notices(policy, person, f"oncall-shift-{person}-{start:%Y%m%dT%H%M%S}", title, lines, now)


def _notices(
    policy: OnCallPolicy, person: str, group: str, title: str, lines: Sequence[str], now: datetime
) -> list[Notification]:
    """Return a message to the first channel of a person."""
    say = catalogue("toban.oncall", policy.language)
    address = policy.address.rstrip("/")
    return [
        Notification(
            group_id=group,
            number=0,
            key=f"{group}.{channel}",
            kind=NotificationKind.NOTICE,
            severity="info",
            title=truncate(one_line(title), 200),
            lines=tuple(truncate(one_line(line), LINE) for line in lines),
            facts=(),
            links=(Link(say["on-call-page"], f"{address}/oncall"),) if address else (),
            at=now,
            since=now,
            language=policy.language,
            receiver=channel,
        )
        for channel in policy.channels_of(person, 0)
    ]


def _time(policy: OnCallPolicy, person: str, at: datetime) -> str:
    return f"{at.astimezone(policy.zone_of(person)):%Y-%m-%d %H:%M %Z}"
