"""The http collector against servers that behave, and servers that don't."""

import asyncio
import gzip

import pytest

from tests.integration.looks import lent, look
from tests.pretend import nothing, pretending, says
from tests.servers import free_port
from toban.collect.collectors.http.http import MAX_BODY, Http
from toban.core.errors import CollectError

GRAPHQL = {"body": {"query": "{ __typename }"}, "method": "POST", "present": "data.__typename", "absent": "errors"}


async def looked(answer, *, path="/", host="127.0.0.1", **fields):
    """Return a look's numbers, and what the server was asked."""
    async with pretending(answer, host) as server, lent() as tools:
        place = f"[{host}]" if ":" in host else host
        numbers = await look(Http(url=f"http://{place}:{server.port}{path}", **fields), tools)
        return numbers, server.asked


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_an_answer_is_measured(host):
    """
    Its status, its length after inflation, and each phase; an IPv6 address is an address.
    """
    numbers, [asked] = await looked(says(gzip.compress(b"x" * 500), content_encoding="gzip"), host=host)

    assert numbers.trouble == ""
    assert numbers.one("probe_http_status_code") == 200
    assert numbers.one("probe_http_uncompressed_body_length") == 500
    assert {dict(labels)["phase"] for labels in numbers["probe_http_duration_seconds"]} == {
        "resolve", "connect", "processing", "transfer",
    }  # fmt: skip
    assert asked.startswith("GET / HTTP/1.1")


@pytest.mark.parametrize(
    ("body", "trouble"),
    [
        ('{"data": {"__typename": "Query"}}', ""),
        ('{"errors": [{"message": "no database for Hanako"}], "data": null}', "answered 200, but with 'errors'"),
        ('{"data": null}', "answered 200, but without 'data.__typename'"),
        ("<html>", "answered 200, but the body is not JSON"),
        ("[" * 200_000, "answered 200, but the body is not JSON"),
        ('{"data": "' + "x" * MAX_BODY + '"}', "answered 200, but the body is not JSON so far"),
    ],
)
async def test_a_graphql_api_that_answers_200_with_errors_is_down(body, trouble):
    """
    Its status says nothing; what it says stays out of the message, for it may be a customer's.
    """
    numbers, [asked] = await looked(says(body), path="/shop-api", **GRAPHQL)

    assert numbers.trouble == trouble
    assert asked.lower().count("content-type: application/json") == 1
    assert asked.endswith('{"query":"{ __typename }"}')


@pytest.mark.parametrize(
    ("status", "fields", "trouble"),
    [
        ("500 Oops", {}, "answered 500"),
        ("500 Oops", {"status": [500]}, ""),
        ("204 Nothing", {"status": [200]}, "answered 204"),
        ("200 OK", {"match": "(?i)WELL"}, ""),
        ("200 OK", {"match": "^ill"}, "answered 200, but nothing in the body matches '^ill'"),
    ],
)
async def test_status_and_body_are_what_is_expected_or_it_is_down(status, fields, trouble):
    """
    The numbers are there either way.
    """
    numbers, _ = await looked(says("all is well", status), **fields)

    assert numbers.trouble == trouble
    assert numbers.one("probe_http_status_code") == int(status[:3])


async def test_a_health_endpoint_says_what_is_down():
    """
    The names of what is down, in Terminus' words.
    """
    body = '{"status": "error", "info": {}, "error": {"redis": {}, "database": {}}, "details": {"redis": {}}}'
    numbers, _ = await looked(says(body, "503 Service Unavailable"))

    assert numbers.trouble == "answered 503: database, redis down"


async def test_a_redirect_is_followed_or_is_the_answer():
    """
    As is wished.
    """
    moved = says(status="302 Found", location="/there")
    well = says("here")

    async def answer(request, writer):
        await (well if request.startswith("GET /there") else moved)(request, writer)

    numbers, asked = await looked(answer)
    assert (numbers.trouble, numbers.one("probe_http_status_code"), len(asked)) == ("", 200, 2)
    numbers, asked = await looked(answer, redirects=False)
    assert (numbers.trouble, len(asked)) == ("answered 302", 1)
    numbers, asked = await looked(answer, redirects=False, status=[302])
    assert numbers.trouble == ""


async def test_a_circle_of_redirects_is_down():
    """
    It is left in the end.
    """
    with pytest.raises(CollectError, match=r"http http: GET http://127\.0\.0\.1:[0-9]+/: .*redirects"):
        await looked(says(status="302 Found", location="/"))


async def test_an_endless_body_is_left_after_what_is_needed():
    """
    A flood costs no more than a megabyte.
    """

    async def flood(request, writer):
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 65536)
            await writer.drain()

    numbers, _ = await looked(flood)
    assert numbers.one("probe_http_uncompressed_body_length") == MAX_BODY


async def half(request, writer):
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf")


async def garbage(request, writer):
    writer.write(b"220 mail.example ESMTP\r\n\r\n")


async def nothing_at_all(request, writer):
    pass


async def long_headers(request, writer):
    writer.write(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 40_000)


async def elsewhere(request, writer):
    writer.write(b"HTTP/1.1 302 Found\r\nlocation: file:///etc/passwd\r\ncontent-length: 0\r\n\r\n")


async def slow(request, writer):
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n")
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("answer", "trouble"),
    [
        (nothing, "accepts connections but does not answer: it hangs"),
        (slow, "the response did not end in time"),
        (half, "complete message body"),
        (garbage, "illegal status line: '220 mail.example ESMTP'"),
        (nothing_at_all, "the server closed the connection without a response"),
        (long_headers, "the headers of its response have more than 100 kB"),
        (elsewhere, "it redirects to file:, which is not HTTP"),
        (says(b"no gzip", content_encoding="gzip"), "."),
    ],
)
async def test_no_answer_half_an_answer_and_garbage_are_down(answer, trouble):
    """
    The message names who was asked, without the query, which may hold a secret, and says why in no words of Python.
    """
    with pytest.raises(CollectError, match=f"http shop: GET http://127.0.0.1:[0-9]+/: .*{trouble}") as caught:
        await looked(answer, name="shop", path="/?token=secret", timeout="200ms")
    assert "secret" not in str(caught.value)


async def test_a_refused_connection_and_an_unknown_name_are_told():
    """
    In the words of the system.
    """
    async with lent() as tools:
        with pytest.raises(CollectError, match="connection refused"):
            await look(Http(url=f"http://127.0.0.1:{free_port()}/"), tools)
        with pytest.raises(CollectError, match="http http: GET http://"):
            await look(Http(url=f"http://{'x' * 64}/"), tools)


@pytest.mark.parametrize(
    ("status", "fields", "well"),
    [
        ("200 OK", {}, False),
        ("200 OK", {"empty": True}, True),
        ("200 OK", {"method": "HEAD"}, True),
        ("204 No Content", {}, True),
    ],
)
async def test_an_empty_page_is_down_unless_it_is_meant(status, fields, well):
    """
    A storefront that answers 200 and nothing shows nothing to its customers.
    """
    numbers, _ = await looked(says("", status=status), **fields)
    assert (numbers.trouble == "") is well


def redirecting(status, to):
    async def answer(request, writer):
        await says("moved", status=status, location=to)(request, writer)

    return answer


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("fields", [{}, {"method": "POST", "body": "card=4111"}])
async def test_a_redirect_takes_no_credentials_to_another_host(status, fields):
    """
    Neither `Authorization` nor a header of one's own, nor what was posted; on the same host all go along.
    """
    headers = {"authorization": "Bearer hush", "X-Api-Key": "hush", "Cookie": "hush"}
    async with (
        pretending(says("here")) as other,
        pretending(redirecting(status, f"http://127.0.0.1:{other.port}/there")) as first,
        lent() as tools,
    ):
        page = Http(url=f"http://127.0.0.1:{first.port}/", headers=headers, **fields)
        if fields and status in {307, 308}:
            with pytest.raises(CollectError, match="another host"):
                await look(page, tools)
            assert other.asked == []
            return
        numbers = await look(page, tools)
    assert numbers.one("probe_http_status_code") == 200
    assert "hush" in first.asked[0]
    [asked] = other.asked
    assert asked.startswith("GET /there ")
    assert "hush" not in asked
    assert "4111" not in asked


async def test_a_redirect_on_the_same_host_keeps_what_is_sent():
    """
    As far as there are not too many.
    """

    async def answer(request, writer):
        if request.startswith("GET /a"):
            await says("x")(request, writer)
        else:
            await redirecting(302, "/a" if "/b" in request.partition("\r\n")[0] else "/loop")(request, writer)

    numbers, asked = await looked(answer, path="/b", headers={"X-Api-Key": "hush"})
    assert numbers.one("probe_http_status_code") == 200
    assert all("hush" in one for one in asked)
    with pytest.raises(CollectError, match="redirects"):
        await looked(answer, path="/loop")


@pytest.mark.parametrize("charset", ["Shift_JIS", "EUC-JP", "UTF-16"])
async def test_a_word_is_found_on_a_page_of_another_charset(charset):
    """
    And one that isn't there is not.
    """
    page = says("<p>ご注文</p>".encode(charset), content_type=f"text/html; charset={charset}")
    assert (await looked(page, match="ご注文"))[0].trouble == ""
    assert "nothing in the body matches" in (await looked(page, match="売り切れ"))[0].trouble


async def test_a_word_that_may_stand_where_nobody_read_is_told_so():
    """
    A megabyte is read.
    """
    numbers, _ = await looked(says("x" * MAX_BODY + "Returns"), match="Returns")
    assert numbers.trouble == "answered 200, but nothing in the first 1,000,000 bytes of the body matches 'Returns'"


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
async def test_gzip_that_does_not_end_is_down(body, words):
    """
    What came of it looks like a page; several in a row are one, and zeros after the last are nothing.
    """
    answer = says(body, content_encoding="gzip")
    if words:
        with pytest.raises(CollectError, match=words):
            await looked(answer)
    else:
        assert (await looked(answer))[0].one("probe_http_uncompressed_body_length") == 500


async def test_json_with_a_mark_before_it_is_json():
    """
    As browsers have it.
    """
    numbers, _ = await looked(says(b"\xef\xbb\xbf" + b'{"data": {"__typename": "Query"}}'), **GRAPHQL)
    assert numbers.trouble == ""
