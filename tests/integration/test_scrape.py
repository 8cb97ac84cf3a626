"""The scrape collector against real responses."""

import gzip

import numpy as np
import pytest

from tests.fakes import ListSink, collect_once, sample_values
from tests.integration.scraping import collector_tools
from tests.scripted_server import never_respond, respond_with, scripted_server
from toban.collect.collectors.scrape.scrape import DUPLICATES, Scrape
from toban.collect.service import CollectionService
from toban.core.samples import milliseconds

PAGE = '# TYPE heat gauge\nheat{room="a"} 20\nheat{room="b"} 21\n'


async def scraped(*pages, **fields):
    """Look once for each answer, through the collecting service; return what was handed over each time."""
    responses = list(pages)

    async def respond(request, writer):
        page = responses.pop(0)
        await (page if callable(page) else respond_with(page, content_type="text/plain; version=0.0.4"))(
            request, writer
        )

    sink, handed = ListSink(), []
    async with scripted_server(respond) as server, collector_tools() as tools:
        scrape = Scrape(name="x", job="x", instance="i", url=f"http://127.0.0.1:{server.port}/metrics", **fields)
        collecting = CollectionService([scrape], sink, tools)
        for _ in pages:
            before = len(sink.batches)
            await collect_once(collecting)
            handed.append(sample_values(sink.batches[before:]))
        return handed, collecting.targets()[0], sink.batches, server.requests, tools


UP = 'up{instance="i", job="x"}'
HEAT = 'heat{instance="i", job="x", room="%s"}'


async def test_a_page_is_scraped():
    """
    Asked for as Prometheus asks.
    """
    [found], target, _, [asked], _ = await scraped(PAGE)

    assert found == {UP: 1, HEAT % "a": 20, HEAT % "b": 21}
    assert target.samples == 2
    assert "application/openmetrics-text" in asked
    assert "x-prometheus-scrape-timeout-seconds: 10" in asked.lower()


async def test_a_missing_series_becomes_stale():
    """
    And a page that stays the same uses the same layout again.
    """
    one = 'heat{room="a"} 22\n'
    handed, _, batches, _, _ = await scraped(PAGE, one, one)

    assert handed[1] == {UP: 1, HEAT % "a": 22, HEAT % "b": "stale"}
    assert handed[2] == {UP: 1, HEAT % "a": 22}
    assert batches[3].layout is batches[6].layout


async def test_a_page_in_gzip_and_openmetrics():
    """
    A counter keeps its `_total`, and a page that is cut off is no page.
    """
    page = "# TYPE orders counter\norders_total 3.0\n# EOF\n"
    media = "application/openmetrics-text; version=1.0.0"
    whole = respond_with(gzip.compress(page.encode()), content_type=media, content_encoding="gzip")
    half = respond_with(page[:-6], content_type=media)
    handed, target, _, _, _ = await scraped(whole, half)

    orders = 'orders_total{instance="i", job="x"}'
    assert handed == [{UP: 1, orders: 3}, {UP: 0, orders: "stale"}]
    assert "# EOF" in target.error


async def test_a_chunked_page_behind_a_redirect_is_scraped():
    """
    However it comes, it is one page.
    """

    async def chunked(request, writer):
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-type: text/plain\r\n\r\n")
        for piece in (PAGE[:25], PAGE[25:27], PAGE[27:], ""):
            writer.write(f"{len(piece):x}\r\n{piece}\r\n".encode())

    handed, *_ = await scraped(chunked)
    assert handed == [{UP: 1, HEAT % "a": 20, HEAT % "b": 21}]

    moved = respond_with(status="301 Moved Permanently", location="/there")

    async def respond(request, writer):
        await (respond_with(PAGE) if request.startswith("GET /there") else moved)(request, writer)

    async with scripted_server(respond) as server, collector_tools() as tools:
        look = await Scrape(url=f"http://127.0.0.1:{server.port}/").collect(tools)
    assert [len(batch.layout) for batch in look.batches] == [2]


async def test_honor_labels():
    """
    As Prometheus does.
    """
    page = 'heat{job="their",instance="own"} 1\n'
    [renamed], *_ = await scraped(page)
    [honored], *_ = await scraped(page, honor_labels=True)

    assert 'heat{exported_instance="own", exported_job="their", instance="i", job="x"}' in renamed
    assert 'heat{instance="own", job="their"}' in honored


async def test_timestamps_of_samples_are_kept():
    """
    The others were taken at the time of the look.
    """
    *_, batches, _, tools = await scraped('heat{room="a"} 1 1767225590000\nheat{room="b"} 2\n')

    now = milliseconds(tools.clock.now())
    assert {str(batch.layout.series[0]): batch.at for batch in batches[1:]} == {
        HEAT % "a": 1767225590000,
        HEAT % "b": now,
    }


async def test_of_duplicate_series_the_first_counts():
    """
    The others are counted.
    """
    [found], _, _, _, tools = await scraped('heat{room="a"} 1\nheat{room="a"} 2\n')

    assert found[HEAT % "a"] == 1
    assert tools.meters.value(DUPLICATES, name="x") == 1


@pytest.mark.parametrize(
    ("respond", "fields", "words"),
    [
        (respond_with("no", "503 Service Unavailable"), {}, "answered 503"),
        ("heat 1\nnot a sample\n", {}, "line 2"),
        ("".join(f'heat{{n="{n}"}} 1\n' for n in range(9)), {"sample_limit": 5}, "limit"),
        ("x" * 5000, {"body_size_limit": 1000}, "more than 1000 bytes"),
        (respond_with(b"\xff\xfe", content_type="text/plain"), {}, "not UTF-8"),
        (never_respond, {"scrape_timeout": "50ms"}, "accepts connections but does not answer: it hangs"),
        (
            respond_with("<html>", content_type="text/html; charset=utf-8"),
            {},
            "line 1: '<html>' is not a sample (its type is text/html)",
        ),
        (respond_with('{"a": 1}', content_type="application/json"), {}, "(its type is application/json)"),
        (respond_with(PAGE, content_type="text/plain", content_length="999"), {}, "expected 999"),
        (
            respond_with(gzip.compress(bytes(5_000_000)), content_encoding="gzip"),
            {"body_size_limit": "1MB"},
            "more than 1000000 bytes",
        ),
    ],
)
async def test_an_invalid_page_is_down(respond, fields, words):
    """
    Nothing of it is kept.
    """
    [found], target, *_ = await scraped(respond, **fields)

    assert found == {UP: 0}
    assert words in target.error


async def test_ten_thousand_series_are_one_batch():
    """
    Ten thousand of them, and one more is too many.
    """
    page = "".join(f'heat{{n="{n}"}} {n}\n' for n in range(10_000))
    _, target, batches, _, _ = await scraped(page)
    assert target.samples == 10_000
    assert np.array_equal(batches[1].values, np.arange(10_000.0))
    _, target, *_ = await scraped(page + "more 1\n")
    assert not target.up


@pytest.mark.parametrize(
    ("fields", "page", "said"),
    [
        ({"label_limit": 3}, 'a{b="c"} 1\n', "label_limit exceeded (metric: a, number of labels: 4, limit: 3)"),
        (
            {"label_name_length_limit": 8},
            'a{long_name="c"} 1\n',
            "label_name_length_limit exceeded (metric: a, label name: long_name, length: 9, limit: 8)",
        ),
        (
            {"label_value_length_limit": 8},
            'a{b="123456789"} 1\n',
            "label_value_length_limit exceeded (metric: a, label name: b, length: 9, limit: 8)",
        ),
        ({}, "a{" + ",".join(f'l{n}="x"' for n in range(98)) + "} 1\n", "label_limit exceeded"),
    ],
)
async def test_label_limits(fields, page, said):
    """
    As by Prometheus, the target's own labels included; 0 is no limit.
    """
    [found], target, *_ = await scraped(page, **fields)
    assert found == {UP: 0}
    assert said in target.error
    [found], *_ = await scraped(page, label_limit=0, label_name_length_limit=0, label_value_length_limit=0)
    assert found[UP] == 1
