"""Following the log."""

import asyncio
from contextlib import ExitStack

import pytest

from tests.unit.logs.logql.test_engine import line
from toban.core.errors import QueryError
from toban.core.log_line import LogLevel
from toban.logs import line_feed
from toban.logs.line_feed import LineFeed, NewLines, Subscription
from toban.logs.line_store import LinePosition, StoredLine
from toban.logs.logql.simple_search import parse_search


def stored(*lines, first: int = 1) -> list[StoredLine]:
    return [StoredLine(LinePosition(number, number), it) for number, it in enumerate(lines, first)]


async def received(subscription: Subscription, count: int) -> list[NewLines]:
    found = subscription.new_lines()
    async with asyncio.timeout(5):
        return [await anext(found) for _ in range(count)]


def texts(news: NewLines) -> list[str]:
    return [it.text for it in news.lines]


async def test_lines_are_passed_on_that_the_query_finds():
    feed = LineFeed()
    query = parse_search('{service="api"} |= "a" | level="warn" | line_format "{{.level}} {{__line__}}"')
    with feed.subscribe(query) as subscription:
        feed.publish(stored(line(1, "a"), line(2, "a", LogLevel.WARN), line(3, "b", LogLevel.WARN)))
        feed.publish(stored(line(4, "ab", LogLevel.WARN), line(5, "a", LogLevel.WARN, "worker"), first=4))
        assert [texts(it) for it in await received(subscription, 2)] == [["warn a"], ["warn ab"]]
    feed.publish(stored(line(1, "a")))


async def test_a_slow_reader_is_told_how_many_lines_it_lost(monkeypatch: pytest.MonkeyPatch):
    """
    At most: those of its streams count.
    """
    monkeypatch.setattr(line_feed, "MAX_LINES", 5)
    feed = LineFeed()
    with feed.subscribe(parse_search("service:api")) as subscription:
        for number in range(4):
            feed.publish(stored(line(1, f"one {number}"), line(1, "other", service="worker")))
        first, second = await received(subscription, 2)
    assert (texts(first), first.dropped) == (["one 2"], 2)
    assert (texts(second), second.dropped) == (["one 3"], 0)


async def test_lines_that_wait_are_limited_by_their_texts(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(line_feed, "MAX_CHARACTERS", 100)
    feed = LineFeed()
    with feed.subscribe(parse_search("")) as subscription:
        feed.publish(stored(line(1, "x" * 90)))
        feed.publish(stored(line(1, "y" * 90)))
        (news,) = await received(subscription, 1)
    assert (texts(news)[0][:1], news.dropped) == ("y", 1)


async def test_too_many_readers_are_rejected():
    feed = LineFeed()
    with ExitStack() as readers:
        for _ in range(line_feed.MAX_SUBSCRIPTIONS):
            readers.enter_context(feed.subscribe(parse_search("")))
        with pytest.raises(QueryError, match="follow the log already"):
            readers.enter_context(feed.subscribe(parse_search("")))
    with feed.subscribe(parse_search("")):
        pass


async def test_a_reader_hears_that_there_is_nothing_new(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(line_feed, "INTERVAL", 0.0)
    with LineFeed().subscribe(parse_search("")) as subscription:
        assert await received(subscription, 2) == [NewLines(()), NewLines(())]
