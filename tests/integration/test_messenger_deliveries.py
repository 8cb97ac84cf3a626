"""Messengers behind the outbox: what is sent again, to whom, and what goes to another channel."""

import pytest

from tests.fake_discord import FakeDiscord
from tests.fake_http import broken, busy, half, late, unchanged
from tests.fake_line import FakeLine
from tests.fake_telegram import FakeTelegram
from tests.fake_twilio import FakeTwilio
from tests.fakes import FakeClock
from tests.integration.test_deliveries import ChannelProcess
from tests.messengers import PHONE, SECOND, discord, line, message, telegram, twilio
from tests.notifications import NIGHT
from toban.core.notification import NotificationKind
from toban.notify.channel_worker import REROUTE_AFTER


@pytest.fixture
def clock():
    return FakeClock(NIGHT)


async def test_line_shows_a_message_once_however_often_it_is_sent(tmp_path, clock):
    """
    Also when toban was started anew in between.
    """
    async with FakeLine() as fake:
        fake.next(half, broken, late, half)
        async with ChannelProcess(line(fake), tmp_path, clock) as life:
            await life.put(message())
            await life.tries(3)
        async with ChannelProcess(line(fake), tmp_path, clock) as life:
            await life.tries(3)
            assert (life.worker.waiting.size, life.worker.problem) == (0, "")
        assert (len(fake.messages), len(fake.requests)) == (1, 5)


async def test_what_discord_may_have_got_is_sent_twice_at_most(tmp_path, clock):
    async with FakeDiscord() as fake, ChannelProcess(discord(fake), tmp_path, clock) as life:
        fake.next(half, half, half)
        await life.put(message())
        await life.worker.drain()
        clock.advance(REROUTE_AFTER.total_seconds() - 1)
        await life.worker.drain()
        assert len(fake.messages) == 1
        await life.tries(3)
        assert len(fake.messages) == 2
        assert [it.group_id for it in await life.elsewhere()] == ["orders-1"]


async def test_a_service_is_not_asked_before_the_time_that_it_named(tmp_path, clock):
    async with FakeDiscord() as fake, ChannelProcess(discord(fake), tmp_path, clock) as life:
        fake.next(busy(64))
        await life.put(message())
        await life.tries(1, 63)
        assert len(fake.requests) == 1
        clock.advance(2)
        await life.worker.drain()
        assert (len(fake.requests), len(fake.messages)) == (2, 1)


@pytest.mark.parametrize("spoil", ["quota", "carrier"])
async def test_what_was_not_delivered_goes_to_another_channel_at_once(tmp_path, clock, spoil):
    """
    LINE's messages of the month are used up; the carrier did not deliver Twilio's.
    """
    async with FakeLine(quota=0) as fake_line, FakeTwilio() as fake_twilio:
        fake_twilio.next(unchanged)
        channel = line(fake_line) if spoil == "quota" else twilio(fake_twilio)
        async with ChannelProcess(channel, tmp_path, clock) as life:
            await life.put(message())
            await life.worker.drain()
            assert [it.group_id for it in await life.elsewhere()] == ["orders-1"]
            assert life.worker.waiting.size == 0
            assert ("monthly limit" if spoil == "quota" else "undelivered") in life.worker.problem


async def test_a_number_that_failed_for_now_gets_its_messages_later_and_in_order(tmp_path, clock):
    async with FakeTwilio() as fake:
        channel = twilio(fake, to=(PHONE, SECOND))
        async with ChannelProcess(channel, tmp_path, clock) as life:
            fake.next(busy(3))
            await life.put(message(), message(NotificationKind.RESOLVED, 1))
            await life.tries(4, 60)
            assert (life.worker.waiting.size, life.worker.problem) == (0, "")
        states = {number: [it["Body"][:6] for it in fake.messages if it["To"] == number] for number in (PHONE, SECOND)}
    assert states == {PHONE: ["Firing", "Resolv"], SECOND: ["Firing", "Resolv"]}


async def test_a_message_is_updated_after_a_restart_too(tmp_path, clock):
    async with FakeTelegram() as fake:
        for number, kind in enumerate((NotificationKind.FIRING, NotificationKind.RESOLVED)):
            async with ChannelProcess(telegram(fake), tmp_path, clock) as life:
                await life.put(message(kind, number))
                await life.tries()
        (only,) = fake.messages.values()
        assert only["text"].startswith("<b>Resolved: Orders fail</b>")
        assert len(fake.replies) == 1
