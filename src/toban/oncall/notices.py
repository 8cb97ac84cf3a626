"""Messages to people whose shifts somebody has changed, or could take."""

from collections.abc import Iterable
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

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
    address = policy.address.rstrip("/")
    found: dict[str, Notification] = {}
    for name in dict.fromkeys(people):
        known = policy.on_call.people.get(name)
        if known is None or by in {name, known.user}:
            continue
        zone = ZoneInfo(known.timezone) if known.timezone else policy.zone
        title = say[f"shift-{reason}"].format(
            person=policy.name_of(made.person),
            instead_of=policy.name_of(made.instead_of),
            start=f"{made.starts.astimezone(zone):%Y-%m-%d %H:%M %Z}",
            end=f"{made.ends.astimezone(zone):%Y-%m-%d %H:%M %Z}",
        )
        lines = [say["shift-by"].format(by=by), *([made.comment] if made.comment else [])]
        if reason == "offered":
            lines.append(say["shift-take"].format(id=made.id))
        for channel in policy.channels_of(name, 0):
            group = f"oncall-{made.id}-{reason}-{name}"
            found[channel] = Notification(
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
    return list(found.values())
