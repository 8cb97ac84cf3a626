"""The demo's post office, as the channels know it."""

import httpx2
import pytest

from tests.fakes import FakeClock
from tests.notifications import NIGHT, notification
from toban.core.notification import NotificationKind
from toban.demo import message_inbox
from toban.notify.channel import Channel, ChannelTools
from toban.settings import build_settings
from toban.web.pages.i18n import texts


@pytest.fixture
async def http():
    async with httpx2.AsyncClient(timeout=5) as client:
        yield client


async def test_the_inbox_shows_messages_as_the_services_would(http):
    """
    One Slack message that changes, with replies; one incident, one conversation by mail, each from firing to resolved.
    """
    lines: list[str] = []
    with message_inbox.open_inbox() as letters:
        channels: dict[str, Channel] = build_settings({"channels": letters.channels()}, {}, "the demo's").channels
        async with letters.served(lines.append) as box:
            tools = ChannelTools(http, FakeClock(NIGHT), shop="Demo shop")
            for name, channel in channels.items():
                assert (await channel.check_connection(tools)).ok, name
                handle = {}
                for number, kind in enumerate(
                    (NotificationKind.FIRING, NotificationKind.ACKNOWLEDGED, NotificationKind.RESOLVED)
                ):
                    handle |= await channel.send(notification(kind, number), handle, tools)
            kept = {service: list(messages.values()) for service, messages in box.messages.items()}
            page = (await http.get(letters.page)).text
            japanese = (await http.get(letters.page, headers={"accept-language": "ja"})).text

    assert {service: len(messages) for service, messages in kept.items()} == {"slack": 1, "pagerduty": 1, "email": 1}
    assert kept["slack"][0].color == "#36a64f"
    assert kept["pagerduty"][0].state == "resolved"
    assert all(len(messages[0].steps) >= 2 for messages in kept.values())
    assert {line.split(":")[0] for line in lines} == {"Slack", "PagerDuty", "Mail"}
    assert "Orders fail" in page
    assert texts("ja")["post"] in japanese


async def test_unknown_messages_can_not_be_changed(http):
    """
    And garbage is no message, though it is answered as the services answer.
    """
    with message_inbox.open_inbox() as letters:
        async with letters.served(lambda _: None) as box:
            wrong = await http.post(f"{letters.page}/slack/chat.update", json={"ts": "1.0", "text": "x"})
            garbage = await http.post(f"{letters.page}/slack/chat.postMessage", content=b"\xff{")
            ended = {"event_action": "resolve", "dedup_key": "nobody"}
            resolved = await http.post(f"{letters.page}/pagerduty/v2/enqueue", json=ended)

    assert wrong.json() == {"ok": False, "error": "message_not_found"}
    assert (garbage.json()["ok"], resolved.status_code) == (False, 202)
    assert not any(box.messages.values())
