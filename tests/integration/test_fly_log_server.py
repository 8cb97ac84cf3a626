"""The demo's stand-in of Fly's log stream."""

import asyncio

import pytest

from tests.fakes import ListLineSink
from tests.integration.scraping import poll_until
from toban.core.clock import SystemClock
from toban.core.metric_registry import MetricRegistry
from toban.demo.fly_log_server import ORGANIZATION, TOKEN, matches, open_stream
from toban.logs.fly_log_stream import CONNECTED, FlyLogConnection, FlyLogStream


@pytest.mark.parametrize(
    ("pattern", "subject", "expected"),
    [
        ("logs.>", "logs.shop.lhr.1", True),
        ("logs.shop.>", "logs.shop.lhr.1", True),
        ("logs.shop.>", "logs.other.lhr.1", False),
        ("logs.*.lhr.*", "logs.shop.lhr.1", True),
        ("logs.*", "logs.shop.lhr.1", False),
        ("logs.shop.>", "logs.shop", False),
    ],
)
def test_subjects_are_matched_as_nats_does(pattern, subject, expected):
    assert matches(pattern, subject) is expected


async def test_what_is_printed_while_somebody_is_connected_reaches_him_line_by_line(tmp_path):
    """
    Also when a line is printed in two pieces; what was printed before is gone.
    """
    output = tmp_path / "server.log"
    output.write_text("before\n")
    meters, lines = MetricRegistry(), ListLineSink()

    async def connected() -> float:
        return meters.value(CONNECTED)

    async def received() -> int:
        return len(lines.lines)

    with open_stream() as stream:
        connection = FlyLogConnection(stream.url, ORGANIZATION, TOKEN)
        reading = asyncio.create_task(FlyLogStream(connection, ["shop"], "", lines, SystemClock(), meters).run())
        async with stream.served({"shop": output, "other": tmp_path / "server.log"}), asyncio.timeout(30):
            await poll_until(connected, bool)
            for text in ("warn 1/1/26, 7:00 PM - [Orders] no", " paper\n", "second\n"):
                with output.open("a") as file:
                    file.write(text)
                await asyncio.sleep(0)
            await poll_until(received, lambda count: count >= 2)
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
    assert [(line.message, line.context, line.service) for line in lines.lines] == [
        ("no paper", "Orders", "shop"),
        ("second", "", "shop"),
    ]


async def test_a_wrong_token_is_refused():
    with open_stream() as stream:
        async with stream.served({}):
            assert "is wrong" in await FlyLogConnection(stream.url, ORGANIZATION, "other").check()
            assert await FlyLogConnection(stream.url, ORGANIZATION, TOKEN).check() == ""
