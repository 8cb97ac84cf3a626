"""Numbers on their way to the outside engine."""

import httpx2
import numpy as np
import pytest

from tests.fake_http import broken, busy, half, late, reset, says
from tests.fake_remote import FakeRemote
from tests.fakes import FakeClock
from toban.core.errors import StoreError
from toban.core.labels import Labels
from toban.core.metric_registry import MetricRegistry
from toban.core.samples import Batch, Layout, milliseconds
from toban.remote import remote_write
from toban.remote.remote_write import RemoteWriteService
from toban.remote.settings import RemoteSettings

LAYOUT = Layout([Labels(__name__="a"), Labels(__name__="b")])


class Source:
    """Batches that wait."""

    def __init__(self, clock):
        self.clock, self.batches, self.dropped, self.trouble = clock, [], 0, ""

    def append(self, *values):
        self.batches.append(Batch(LAYOUT, milliseconds(self.clock.now()), np.array(values, np.float64)))

    def pending(self, samples):
        if self.trouble:
            raise StoreError(self.trouble)
        return list(enumerate(self.batches, 1))[: samples // 2]

    def commit(self, turn):
        del self.batches[:turn]


class House:
    """What sends, and where to."""

    def __init__(self, engine, http, **settings):
        self.clock, self.meters, self.engine = FakeClock(), MetricRegistry(), engine
        self.source = Source(self.clock)
        given = RemoteSettings(write_url=f"{engine.url}/api/v1/write", **settings)
        self.writing = RemoteWriteService(given, self.source, http, self.clock, self.meters)

    @property
    def got(self):
        return [value for _, _, value in self.engine.samples]


@pytest.fixture
async def house():
    async with FakeRemote() as engine, httpx2.AsyncClient() as http:
        yield House(engine, http)


async def test_what_waits_leaves_in_order(house):
    """
    And then there is nothing to do but to look again in a second.
    """
    house.source.append(1, 2)
    await house.clock.sleep(1)
    house.source.append(3, 4)

    assert await house.writing.once() == 0
    assert await house.writing.once() == 1
    assert sorted(house.got) == [1, 2, 3, 4]
    assert house.meters.value(remote_write.SENT) == 4
    assert house.writing.health().message == "samples are sent without delay"


@pytest.mark.parametrize(
    ("trouble", "rest"),
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
async def test_what_is_not_taken_now_waits(trouble, rest, house):
    """
    Nothing is lost; a wrong key or address is nothing that the numbers are at fault for.
    """
    house.engine.next(trouble)
    house.source.append(1, 2)

    assert 0.7 * rest <= await house.writing.once() <= rest
    condition = house.writing.health()
    assert not condition.ok
    assert "samples wait since 2026-01-01 00:00:00 UTC" in condition.message
    assert house.engine.url in condition.message
    assert await house.writing.once() == 0
    assert house.got == [1, 2]
    assert house.writing.health().ok


@pytest.mark.parametrize("trouble", [half, late])
async def test_an_answer_that_does_not_come_means_once_more(trouble, house, monkeypatch):
    """
    The engine may have it twice then: rather that than never.
    """
    monkeypatch.setattr(remote_write, "REQUEST_SECONDS", 0.05)
    house.engine.next(trouble)
    house.source.append(1, 2)

    await house.writing.once()
    assert not house.writing.health().ok
    monkeypatch.setattr(remote_write, "REQUEST_SECONDS", 30)
    assert await house.writing.once() == 0
    assert house.got == [1, 2, 1, 2]


async def test_what_is_refused_for_good_is_passed_over_and_counted(house):
    """
    It would hold up everything behind it.
    """
    house.engine.next(says(400, b"out of order\n sample"))
    house.source.append(1, 2)

    assert await house.writing.once() == 0
    assert house.meters.value(remote_write.REJECTED) == 2
    assert house.writing.health().ok
    assert "answered 400: out of order sample" in house.writing.health().message
    house.source.append(3, 4)
    await house.writing.once()
    assert house.got == [3, 4]
    assert house.writing.health().message == "samples are sent without delay"


async def test_pauses_grow_up_to_a_minute(house):
    """
    And begin anew after a success.
    """
    house.engine.next(*[says(500)] * 10)
    house.source.append(1, 2)

    rests = [await house.writing.once() for _ in range(10)]
    assert rests == sorted(rests)
    assert rests[-1] == 60
    await house.writing.once()
    house.engine.next(says(500))
    house.source.append(1, 2)
    assert await house.writing.once() <= 1


async def test_what_was_let_go_of_is_counted(house):
    """
    Once.
    """
    house.source.dropped = 5
    await house.writing.once()
    await house.writing.once()
    assert house.meters.value(remote_write.DROPPED) == 5


async def test_catching_up_is_told(house):
    """
    With the time since when it is behind.
    """
    house.source.append(1, 2)
    await house.clock.sleep(3600)
    await house.writing.once()
    assert house.meters.value(remote_write.LAG) == 3600
    assert house.writing.health().message == "catching up: samples wait since 2026-01-01 00:00:00 UTC"


async def test_a_store_that_can_not_be_read_is_no_trouble_of_the_engine(house):
    """
    The store says so itself.
    """
    house.source.trouble = "the disk is gone"
    assert await house.writing.once() == 1
    assert house.writing.health().ok


@pytest.mark.parametrize(
    ("auth", "shown"),
    [
        ({"token": "abc"}, {"authorization": "Bearer abc"}),
        ({"username": "me", "password": "it"}, {"authorization": "Basic bWU6aXQ="}),
        (
            {"headers": {"authorization": "FlyV1 x", "x-scope-orgid": "shop"}},
            {"authorization": "FlyV1 x", "x-scope-orgid": "shop"},
        ),
    ],
)
async def test_it_shows_who_it_is(auth, shown):
    """
    By a token, by name and password, or by any headers.
    """
    async with FakeRemote() as engine, httpx2.AsyncClient() as http:
        house = House(engine, http, auth=auth)
        house.source.append(1, 2)
        await house.writing.once()
        assert shown.items() <= engine.asked[0].headers.items()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "set write_url, query_url or both"),
        ({"query_url": "http://x/", "auth": {"token": "a", "username": "b", "password": "c"}}, "choose one"),
        ({"query_url": "http://x/", "auth": {"username": "b"}}, "go together"),
        ({"query_url": "http://x/", "labels": {"__name__": "b"}}, "no label name"),
    ],
)
def test_what_can_not_be_meant_is_refused(settings, says):
    """
    With what to do.
    """
    with pytest.raises(ValueError, match=says):
        RemoteSettings(**settings)


async def test_it_can_be_tried_without_numbers(house):
    """
    Nothing is stored; what is wrong is said.
    """
    assert await house.writing.check_connection() == ""
    assert house.got == []
    house.engine.next(says(401, b"who?"), says(400, b"not here"))
    assert "answered 401: who?" in await house.writing.check_connection()
    assert "answered 400: not here" in await house.writing.check_connection()
