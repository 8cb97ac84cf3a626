"""The heartbeat is sent only while toban is healthy."""

from datetime import timedelta

import httpx2

from tests.fakes import FakeClock
from toban.core.metric_registry import MetricRegistry
from toban.notify.heartbeat import HEARTBEATS, HeartbeatService
from toban.notify.routing import unknown_channels
from toban.notify.settings import Heartbeat, NotifySettings


async def test_a_heartbeat_is_suppressed_while_toban_is_unhealthy():
    """
    And says what; an address that refuses it is trouble too.
    """
    requests, responses, missing = [], [200, 500], ["messages do not leave"]

    def respond(request):
        requests.append(str(request.url))
        return httpx2.Response(responses.pop(0))

    meters = MetricRegistry()
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(respond)) as http:
        settings = Heartbeat(url="https://watch.example/ping", interval=timedelta(minutes=1))
        beating = HeartbeatService(settings, lambda: missing[0], http, FakeClock(), meters)
        await beating.once()
        assert (requests, beating.health().message) == ([], "heartbeat not sent: messages do not leave")
        missing[0] = ""
        await beating.once()
        assert (requests, beating.health().ok) == (["https://watch.example/ping"], True)
        await beating.once()
        assert beating.health().message == "heartbeat not sent: answered 500"
    assert [meters.value(HEARTBEATS, outcome=it) for it in ("suppressed", "sent", "failed")] == [1, 1, 1]


def test_an_unknown_channel_is_an_error_with_its_path():
    """
    Where it stands in the configuration, and which there are.
    """
    settings = NotifySettings.model_validate({"fallback": "mail", "routes": [{"channels": ["slack", "pager"]}]})
    assert unknown_channels(settings, ["slack", "email"]) == [
        "notify.fallback: unknown channel 'mail': configured are email, slack",
        "notify.routes[0].channels: unknown channel 'pager': configured are email, slack",
    ]
