"""Remote write to the remote engine."""

import httpx2
import numpy as np
import pytest

from tests.fake_http import broken, busy, half, late, reset, says
from tests.fake_remote import FakeRemote
from tests.fakes import FakeClock, ListSampleLog
from toban.core.labels import Labels
from toban.core.metric_registry import MetricRegistry
from toban.core.samples import Batch, Layout, milliseconds
from toban.remote import remote_write
from toban.remote.remote_write import RemoteWriteService
from toban.remote.settings import RemoteSettings

LAYOUT = Layout([Labels(__name__="a"), Labels(__name__="b")])


class Setup:
    """The service, its sample log and the remote engine."""

    def __init__(self, engine, http, **settings):
        self.clock, self.meters, self.engine = FakeClock(), MetricRegistry(), engine
        self.log = ListSampleLog()
        remote = RemoteSettings(write_url=f"{engine.url}/api/v1/write", **settings)
        self.service = RemoteWriteService(remote, self.log, http, self.clock, self.meters)

    def append(self, *values):
        self.log.append([Batch(LAYOUT, milliseconds(self.clock.now()), np.array(values, np.float64))])

    @property
    def received(self):
        return [value for _, _, value in self.engine.samples]


@pytest.fixture
async def setup():
    async with FakeRemote() as engine, httpx2.AsyncClient() as http:
        yield Setup(engine, http)


async def test_pending_samples_are_sent_in_order(setup):
    """
    Then the next check is in a second.
    """
    setup.append(1, 2)
    await setup.clock.sleep(1)
    setup.append(3, 4)

    assert await setup.service.once() == 0
    assert await setup.service.once() == 1
    assert sorted(setup.received) == [1, 2, 3, 4]
    assert setup.meters.value(remote_write.SENT) == 4
    assert setup.service.health().message == "samples are sent without delay"


@pytest.mark.parametrize(
    ("failure", "delay"),
    [
        (busy(7), 7),
        (busy(None), 1),
        (says(503, b"starting"), 1),
        (broken, 1),
        (reset, 1),
        (says(401, b"who?"), 1),
        (says(404, b"no such path"), 1),
        (says(302, b"", location="/login"), 1),
    ],
)
async def test_samples_wait_while_requests_fail(failure, delay, setup):
    """
    None is lost, even if the key or the address is wrong.
    """
    setup.engine.next(failure)
    setup.append(1, 2)

    assert 0.7 * delay <= await setup.service.once() <= delay
    health = setup.service.health()
    assert not health.ok
    assert "samples wait since 2026-01-01 00:00:00 UTC" in health.message
    assert setup.engine.url in health.message
    assert await setup.service.once() == 0
    assert setup.received == [1, 2]
    assert setup.service.health().ok


@pytest.mark.parametrize("failure", [half, late])
async def test_a_request_without_response_is_sent_again(failure, setup, monkeypatch):
    """
    The engine may receive it twice.
    """
    monkeypatch.setattr(remote_write, "REQUEST_SECONDS", 0.05)
    setup.engine.next(failure)
    setup.append(1, 2)

    await setup.service.once()
    assert not setup.service.health().ok
    monkeypatch.setattr(remote_write, "REQUEST_SECONDS", 30)
    assert await setup.service.once() == 0
    assert setup.received == [1, 2, 1, 2]


async def test_permanently_rejected_samples_are_skipped_and_counted(setup):
    """
    They would block all later ones.
    """
    setup.engine.next(says(400, b"out of order\n sample"))
    setup.append(1, 2)

    assert await setup.service.once() == 0
    assert setup.meters.value(remote_write.REJECTED) == 2
    assert setup.service.health().ok
    assert "answered 400: out of order sample" in setup.service.health().message
    setup.append(3, 4)
    await setup.service.once()
    assert setup.received == [3, 4]
    assert setup.service.health().message == "samples are sent without delay"


async def test_backoff_grows_up_to_a_minute(setup):
    """
    And is reset by a success.
    """
    setup.engine.next(*[says(500)] * 10)
    setup.append(1, 2)

    delays = [await setup.service.once() for _ in range(10)]
    assert delays == sorted(delays)
    assert delays[-1] == 60
    await setup.service.once()
    setup.engine.next(says(500))
    setup.append(1, 2)
    assert await setup.service.once() <= 1


async def test_dropped_samples_are_counted(setup):
    """
    Once.
    """
    setup.log.dropped = 5
    await setup.service.once()
    await setup.service.once()
    assert setup.meters.value(remote_write.DROPPED) == 5


async def test_health_reports_catching_up(setup):
    """
    With the time of the oldest sample that waits.
    """
    setup.append(1, 2)
    await setup.clock.sleep(3600)
    await setup.service.once()
    assert setup.meters.value(remote_write.LAG) == 3600
    assert setup.service.health().message == "catching up: samples wait since 2026-01-01 00:00:00 UTC"


async def test_an_error_of_the_store_does_not_make_remote_write_unhealthy(setup):
    """
    The store reports it itself.
    """
    setup.log.error = "the disk is gone"
    assert await setup.service.once() == 1
    assert setup.service.health().ok


@pytest.mark.parametrize(
    ("auth", "headers"),
    [
        ({"token": "abc"}, {"authorization": "Bearer abc"}),
        ({"username": "me", "password": "it"}, {"authorization": "Basic bWU6aXQ="}),
        (
            {"headers": {"authorization": "FlyV1 x", "x-scope-orgid": "shop"}},
            {"authorization": "FlyV1 x", "x-scope-orgid": "shop"},
        ),
    ],
)
async def test_requests_are_authenticated(auth, headers):
    """
    By a token, a username and password, or any headers.
    """
    async with FakeRemote() as engine, httpx2.AsyncClient() as http:
        setup = Setup(engine, http, auth=auth)
        setup.append(1, 2)
        await setup.service.once()
        assert headers.items() <= engine.requests[0].headers.items()


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({}, "set write_url, query_url or both"),
        ({"query_url": "http://x/", "auth": {"token": "a", "username": "b", "password": "c"}}, "choose one"),
        ({"query_url": "http://x/", "auth": {"username": "b"}}, "set both username and password"),
        ({"query_url": "http://x/", "labels": {"__name__": "b"}}, "not a valid label name"),
    ],
)
def test_contradictory_settings_are_rejected(settings, error):
    """
    With the remedy.
    """
    with pytest.raises(ValueError, match=error):
        RemoteSettings(**settings)


async def test_the_connection_is_checked_without_samples(setup):
    """
    Nothing is stored; the error is returned.
    """
    assert await setup.service.check_connection() == ""
    assert setup.received == []
    setup.engine.next(says(401, b"who?"), says(400, b"not here"))
    assert "answered 401: who?" in await setup.service.check_connection()
    assert "answered 400: not here" in await setup.service.check_connection()
