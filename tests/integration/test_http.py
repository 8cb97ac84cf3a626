"""The http collector against servers that behave, and servers that don't."""

import asyncio
import gzip

import pytest

from tests.integration.scraping import collector_tools, scrape
from tests.scripted_server import never_respond, respond_with, scripted_server
from tests.servers import free_port
from toban.collect.collectors.http.http import MAX_BODY, Http
from toban.core.errors import CollectError

GRAPHQL = {"body": {"query": "{ __typename }"}, "method": "POST", "present": "data.__typename", "absent": "errors"}


async def scrape_server(respond, *, path="/", host="127.0.0.1", **fields):
    """Return a look's numbers, and what the server was asked."""
    async with scripted_server(respond, host) as server, collector_tools() as tools:
        place = f"[{host}]" if ":" in host else host
        samples = await scrape(Http(url=f"http://{place}:{server.port}{path}", **fields), tools)
        return samples, server.requests


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_a_response_is_measured(host):
    """
    Its status, its length after inflation, and each phase; an IPv6 address is an address.
    """
    samples, [requests] = await scrape_server(
        respond_with(gzip.compress(b"x" * 500), content_encoding="gzip"), host=host
    )

    assert samples.error == ""
    assert samples.one("probe_http_status_code") == 200
    assert samples.one("probe_http_uncompressed_body_length") == 500
    assert {dict(labels)["phase"] for labels in samples["probe_http_duration_seconds"]} == {
        "resolve", "connect", "processing", "transfer",
    }  # fmt: skip
    assert requests.startswith("GET / HTTP/1.1")


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ('{"data": {"__typename": "Query"}}', ""),
        ('{"errors": [{"message": "no database for Hanako"}], "data": null}', "answered 200, but with 'errors'"),
        ('{"data": null}', "answered 200, but without 'data.__typename'"),
        ("<html>", "answered 200, but the body is not JSON"),
        ("[" * 200_000, "answered 200, but the body is not JSON"),
        ('{"data": "' + "x" * MAX_BODY + '"}', "answered 200, but the body is not JSON so far"),
    ],
)
async def test_a_graphql_response_with_errors_is_down(body, error):
    """
    Its status says nothing; what it says stays out of the message, for it may be a customer's.
    """
    samples, [requests] = await scrape_server(respond_with(body), path="/shop-api", **GRAPHQL)

    assert samples.error == error
    assert requests.lower().count("content-type: application/json") == 1
    assert requests.endswith('{"query":"{ __typename }"}')


@pytest.mark.parametrize(
    ("status", "fields", "error"),
    [
        ("500 Oops", {}, "answered 500"),
        ("500 Oops", {"status": [500]}, ""),
        ("204 Nothing", {"status": [200]}, "answered 204"),
        ("200 OK", {"match": "(?i)WELL"}, ""),
        ("200 OK", {"match": "^ill"}, "answered 200, but nothing in the body matches '^ill'"),
    ],
)
async def test_an_unexpected_status_or_body_is_down(status, fields, error):
    """
    The numbers are there either way.
    """
    samples, _ = await scrape_server(respond_with("all is well", status), **fields)

    assert samples.error == error
    assert samples.one("probe_http_status_code") == int(status[:3])


async def test_the_error_of_a_health_endpoint_names_what_is_down():
    """
    The names of what is down, in Terminus' words.
    """
    body = '{"status": "error", "info": {}, "error": {"redis": {}, "database": {}}, "details": {"redis": {}}}'
    samples, _ = await scrape_server(respond_with(body, "503 Service Unavailable"))

    assert samples.error == "answered 503: database, redis down"


async def test_redirects_are_followed_if_configured():
    """
    As is wished.
    """
    moved = respond_with(status="302 Found", location="/there")
    well = respond_with("here")

    async def respond(request, writer):
        await (well if request.startswith("GET /there") else moved)(request, writer)

    samples, requests = await scrape_server(respond)
    assert (samples.error, samples.one("probe_http_status_code"), len(requests)) == ("", 200, 2)
    samples, requests = await scrape_server(respond, redirects=False)
    assert (samples.error, len(requests)) == ("answered 302", 1)
    samples, requests = await scrape_server(respond, redirects=False, status=[302])
    assert samples.error == ""


async def test_a_redirect_loop_is_down():
    """
    It is left in the end.
    """
    with pytest.raises(CollectError, match=r"http http: GET http://127\.0\.0\.1:[0-9]+/: .*redirects"):
        await scrape_server(respond_with(status="302 Found", location="/"))


async def test_an_endless_body_is_read_up_to_the_limit():
    """
    A flood costs no more than a megabyte.
    """

    async def flood(request, writer):
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    samples, _ = await scrape_server(flood)
    assert samples.one("probe_http_uncompressed_body_length") == MAX_BODY


async def half(request, writer):
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")


async def garbage(request, writer):
    writer.write(b"220 mail.example ESMTP\r\n\r\n")


async def nothing_at_all(request, writer):
    pass


async def long_headers(request, writer):
    writer.write(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 40_000)


async def redirect_to_file(request, writer):
    writer.write(b"HTTP/1.1 302 Found\r\nlocation: file:///etc/passwd\r\ncontent-length: 0\r\n\r\n")


async def slow(request, writer):
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n")
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("respond", "error"),
    [
        (never_respond, "accepts connections but does not answer: it hangs"),
        (slow, "the response did not end in time"),
        (half, "complete message body"),
        (garbage, "illegal status line: '220 mail.example ESMTP'"),
        (nothing_at_all, "the server closed the connection without a response"),
        (long_headers, "the headers of its response have more than 100 kB"),
        (redirect_to_file, "it redirects to file:, which is not HTTP"),
        (respond_with(b"no gzip", content_encoding="gzip"), "."),
    ],
)
async def test_missing_truncated_and_invalid_responses_are_down(respond, error):
    """
    The message names who was asked, without the query, which may hold a secret, and says why in no words of Python.
    """
    with pytest.raises(CollectError, match=f"http shop: GET http://127.0.0.1:[0-9]+/: .*{error}") as caught:
        await scrape_server(respond, name="shop", path="/?token=secret", timeout="200ms")
    assert "secret" not in str(caught.value)


async def test_connection_errors_have_the_systems_reason():
    """
    In the words of the system.
    """
    async with collector_tools() as tools:
        with pytest.raises(CollectError, match="connection refused"):
            await scrape(Http(url=f"http://127.0.0.1:{free_port()}/"), tools)
        with pytest.raises(CollectError, match="http http: GET http://"):
            await scrape(Http(url=f"http://{'x' * 64}/"), tools)


@pytest.mark.parametrize(
    ("status", "fields", "well"),
    [
        ("200 OK", {}, False),
        ("200 OK", {"empty": True}, True),
        ("200 OK", {"method": "HEAD"}, True),
        ("204 No Content", {}, True),
    ],
)
async def test_an_empty_page_is_down_unless_expected(status, fields, well):
    """
    A storefront that answers 200 and nothing shows nothing to its customers.
    """
    samples, _ = await scrape_server(respond_with("", status=status), **fields)
    assert (samples.error == "") is well


def redirecting(status, to):
    async def respond(request, writer):
        await respond_with("moved", status=status, location=to)(request, writer)

    return respond


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("fields", [{}, {"method": "POST", "body": "card=4111"}])
async def test_credentials_are_not_sent_to_another_host(status, fields):
    """
    Neither `Authorization` nor a header of one's own, nor what was posted; on the same host all go along.
    """
    headers = {"authorization": "Bearer hush", "X-Api-Key": "hush", "Cookie": "hush"}
    async with (
        scripted_server(respond_with("here")) as other,
        scripted_server(redirecting(status, f"http://127.0.0.1:{other.port}/there")) as first,
        collector_tools() as tools,
    ):
        page = Http(url=f"http://127.0.0.1:{first.port}/", headers=headers, **fields)
        if fields and status in {307, 308}:
            with pytest.raises(CollectError, match="another host"):
                await scrape(page, tools)
            assert other.requests == []
            return
        samples = await scrape(page, tools)
    assert samples.one("probe_http_status_code") == 200
    assert "hush" in first.requests[0]
    [requests] = other.requests
    assert requests.startswith("GET /there ")
    assert "hush" not in requests
    assert "4111" not in requests


async def test_a_redirect_on_the_same_host_keeps_headers_and_body():
    """
    As far as there are not too many.
    """

    async def respond(request, writer):
        if request.startswith("GET /a"):
            await respond_with("x")(request, writer)
        else:
            await redirecting(302, "/a" if "/b" in request.partition("\r\n")[0] else "/loop")(request, writer)

    samples, requests = await scrape_server(respond, path="/b", headers={"X-Api-Key": "hush"})
    assert samples.one("probe_http_status_code") == 200
    assert all("hush" in one for one in requests)
    with pytest.raises(CollectError, match="redirects"):
        await scrape_server(respond, path="/loop")


@pytest.mark.parametrize("charset", ["Shift_JIS", "EUC-JP", "UTF-16"])
async def test_a_pattern_matches_a_page_in_another_charset(charset):
    """
    And one that isn't there is not.
    """
    page = respond_with("<p>ご注文</p>".encode(charset), content_type=f"text/html; charset={charset}")
    assert (await scrape_server(page, match="ご注文"))[0].error == ""
    assert "nothing in the body matches" in (await scrape_server(page, match="売り切れ"))[0].error


async def test_a_pattern_beyond_the_read_limit_is_reported():
    """
    A megabyte is read.
    """
    samples, _ = await scrape_server(respond_with("x" * MAX_BODY + "Returns"), match="Returns")
    assert samples.error == "answered 200, but nothing in the first 1,000,000 bytes of the body matches 'Returns'"


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (gzip.compress(b"x" * 500)[:-9], "the body is cut off: its gzip does not end"),
        (gzip.compress(b"x" * 500)[:12], "the body is cut off: its gzip does not end"),
        (gzip.compress(b"x" * 500) + b"more", "the body is not gzip"),
        (gzip.compress(b"x" * 200) + gzip.compress(b"x" * 300), ""),
        (gzip.compress(b"x" * 500) + bytes(8), ""),
    ],
    ids=["almost", "head", "more", "two", "padded"],
)
async def test_truncated_gzip_is_down(body, words):
    """
    What came of it looks like a page; several in a row are one, and zeros after the last are nothing.
    """
    respond = respond_with(body, content_encoding="gzip")
    if words:
        with pytest.raises(CollectError, match=words):
            await scrape_server(respond)
    else:
        assert (await scrape_server(respond))[0].one("probe_http_uncompressed_body_length") == 500


async def test_json_with_a_byte_order_mark_is_parsed():
    """
    As browsers have it.
    """
    samples, _ = await scrape_server(respond_with(b"\xef\xbb\xbf" + b'{"data": {"__typename": "Query"}}'), **GRAPHQL)
    assert samples.error == ""
