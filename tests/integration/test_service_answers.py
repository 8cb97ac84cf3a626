"""
What each service may answer: late, too many requests, an error, half an answer, and success without an effect.

Each answer is given by each service's fake, and the message arrives all the same, or the error says why it can't.
"""

from collections.abc import Callable

import pytest

from tests.fake_chatwork import FakeChatwork
from tests.fake_http import Fault, broken, busy, half, late, reset, says, unchanged
from tests.fake_twilio import FakeTwilio
from tests.messengers import SERVICES, Messenger, attempt, chatwork, http, message
from toban.core.errors import DeliveryError
from toban.core.notification import NotificationKind
from toban.notify.channel import ChannelTools

__all__ = ["attempt", "http"]


@pytest.fixture(params=SERVICES)
def service(request: pytest.FixtureRequest) -> Messenger:
    return SERVICES[request.param]


PERMANENT, TEMPORARY = True, False
PAGE = b"<!doctype html><title>Sign in to the guest network</title>"


@pytest.mark.parametrize(
    ("trouble", "permanent", "after", "maybe_arrived"),
    [
        pytest.param(late, TEMPORARY, None, True, id="late"),
        pytest.param(half, TEMPORARY, None, True, id="half"),
        pytest.param(reset, TEMPORARY, None, True, id="reset"),
        pytest.param(busy(7), TEMPORARY, 7.0, False, id="429"),
        pytest.param(busy(None), TEMPORARY, None, False, id="429 without Retry-After"),
        pytest.param(broken, TEMPORARY, None, False, id="500"),
        pytest.param(says(503, b"", retry_after="30"), TEMPORARY, 30.0, False, id="503"),
        pytest.param(says(200, PAGE), TEMPORARY, None, True, id="200 of a sign-in page"),
        pytest.param(says(400, b'{"message":"no"}'), PERMANENT, None, False, id="400"),
        pytest.param(says(401, b'{"message":"no"}'), PERMANENT, None, False, id="401"),
        pytest.param(says(404), PERMANENT, None, False, id="404"),
        pytest.param(says(413), PERMANENT, None, False, id="413"),
        pytest.param(says(302, b"", location="https://elsewhere.example/"), PERMANENT, None, False, id="302"),
    ],
)
async def test_errors_are_permanent_or_retried(
    service: Messenger,
    attempt: Callable[[], ChannelTools],
    trouble: Fault,
    permanent: bool,
    after: float | None,
    maybe_arrived: bool,
) -> None:
    """
    No secret is in the error. What is sent again arrives; twice, if it may have arrived before and nobody can tell.
    """
    async with service.fake() as fake:
        channel, tools = service.channel(fake), attempt()
        fake.next(trouble)
        with pytest.raises(DeliveryError) as caught:
            await channel.send(message(), {}, tools)
        assert (caught.value.permanent, caught.value.after) == (permanent, after)
        assert tools.attempt.unanswered is maybe_arrived or service.idempotent
        assert str(caught.value).startswith("ops: ")
        assert service.secret not in str(caught.value)
        assert channel.is_idempotent is service.idempotent

        await channel.send(message(is_retry=True), {}, attempt())
        once = service.idempotent or service.finds or not trouble.done
        assert len(service.seen(fake)) == (1 if once else 2)


async def test_a_connection_that_is_refused_is_retried(service: Messenger, attempt) -> None:
    async with service.fake() as fake:
        channel = service.channel(fake)
    tools = attempt()

    with pytest.raises(DeliveryError, match="connection refused") as caught:
        await channel.send(message(), {}, tools)

    assert (caught.value.permanent, tools.attempt.unanswered) == (False, False)


async def test_what_is_accepted_and_not_delivered(service: Messenger, attempt) -> None:
    """
    Twilio says so when it is asked, and another channel gets it. With the others the next message arrives all the same.
    """
    async with service.fake() as fake:
        channel = service.channel(fake)
        fake.next(unchanged)
        if isinstance(fake, FakeTwilio):
            with pytest.raises(DeliveryError, match=r"undelivered, error 30003|no-answer") as caught:
                await channel.send(message(), {}, attempt())
            assert caught.value.permanent
            return
        handle = await channel.send(message(), {}, attempt())
        assert service.seen(fake) == []
        await channel.send(message(NotificationKind.REMINDER, 1), handle, attempt())
        assert len(service.seen(fake)) == 1


@pytest.mark.parametrize(
    ("answer", "after"),
    [
        (says(429, b'{"message":"You are being rate limited.","retry_after":64.57,"global":false}'), 64.57),
        (says(429, b'{"ok":false,"parameters":{"retry_after":5}}'), 5.0),
        (says(429, b"{}", x_ratelimit_reset_after="1.5", x_ratelimit_reset="1767225999"), 1.5),
        (says(429, b"{}", x_ratelimit_reset="1767225660"), 60.0),
        (says(429, b"{}", x_ratelimit_reset="12"), 12.0),
        (says(429, b'{"retry_after":"soon"}', x_ratelimit_reset="-1"), None),
        (says(429, b'{"retry_after":true}', x_ratelimit_reset="nan"), None),
        (says(429, b'{"retry_after":9}', retry_after="3"), 3.0),
        (says(500, b'{"retry_after":9}', x_ratelimit_reset_after="9"), None),
    ],
)
async def test_the_delay_that_a_service_asks_for_is_honoured(attempt, answer: Fault, after: float | None) -> None:
    """
    Discord writes it into the body, Telegram too, Chatwork into a header as a time.
    """
    async with FakeChatwork() as fake:
        fake.next(answer)
        with pytest.raises(DeliveryError) as caught:
            await chatwork(fake).send(message(), {}, attempt())
    assert caught.value.after == after
