"""Buckets at a server that speaks S3 and checks signatures with AWS's own library (moto)."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from tests.fake_http import FakeService, ReceivedRequest, Reply, broken, busy, half, reset, says
from tests.fakes import FakeClock
from tests.integration.scraping import collector_tools, open_scraper
from tests.s3_server import Storage, s3_server
from toban.collect.collectors.files.files import Files
from toban.core import s3
from toban.core.s3 import S3Bucket

MANY = 1_203
"""Objects beneath `assets/`: more than one page of a listing."""


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    """A server with a bucket of many objects."""
    with s3_server(tmp_path_factory.mktemp("moto"), fill) as storage:
        yield storage


def fill(storage) -> None:
    storage.create_bucket(Bucket="shop-assets")
    for number in range(MANY):
        storage.put_object(
            Bucket="shop-assets", Key=f"assets/{number:05} ä+&.jpg", Body=b"12345", ContentType="image/jpeg"
        )
    storage.put_object(Bucket="shop-assets", Key="other", Body=b"1", ContentType="text/html")


@pytest.fixture
async def tools():
    async with collector_tools() as tools:
        yield replace(tools, clock=FakeClock(datetime.now(UTC)))


def collector(storage, *, every="2m", pages=20, list_interval="1h", backup=None, **fields):
    given = {
        "name": "shop-assets",
        "endpoint": storage.url,
        "region": "us-east-1",
        "key": storage.key,
        "secret": storage.secret,
        **fields,
    }
    return Files.model_validate(
        {
            "kind": "files",
            "name": "assets",
            "bucket": given,
            "pages": pages,
            "list_interval": list_interval,
            "backup": backup,
        }
    )


async def scrape_once(one, tools):
    found = await open_scraper(one, tools).collect()
    return found.error, {sample.family.name: sample.value for sample in found.samples}


async def test_a_bucket_is_summed_page_by_page(storage, tools):
    """
    What lies beneath the prefix; the newest is of today.
    """
    fault, found = await scrape_once(collector(storage, prefix="assets/"), tools)
    assert fault == ""
    assert (found["folder_files"], found["folder_size_bytes"]) == (MANY, 5 * MANY)
    assert abs(found["folder_newest_timestamp_seconds"] - tools.clock.now().timestamp()) < 300


async def test_a_large_bucket_is_listed_over_several_scrapes(storage, tools):
    """
    No look sends more requests than it may; numbers are those of a whole listing.
    """
    one = collector(storage, pages=1)
    assert await scrape_once(one, tools) == ("", {})
    tools.clock.advance(120)
    first = await scrape_once(one, tools)
    assert first[1]["folder_files"] == MANY + 1
    sent = []
    tools.http.event_hooks["request"] = [lambda request: _noted(sent, request)]
    tools.clock.advance(120)
    assert await scrape_once(one, tools) == first
    assert sent == []
    tools.clock.advance(3600)
    assert await scrape_once(one, tools) == first
    assert len(sent) == 1


async def _noted(sent, request):
    sent.append(request)


@pytest.mark.parametrize(
    ("sample", "type", "body"),
    [
        ("assets/00007 ä+&.jpg", "image/", ""),
        ("other", "image/", "HEAD other: is text/html, not image/"),
        ("gone", "", "HEAD gone: answered 404"),
    ],
)
async def test_the_sample_object_must_have_the_expected_type(storage, tools, sample, type, body):
    """
    A storage that hands out pages of errors as images is of no use to a shop.
    """
    fault, found = await scrape_once(collector(storage, sample=sample, type=type), tools)
    assert fault.endswith(body)
    assert found["folder_sample_up"] == (not body)
    assert ("folder_sample_seconds" in found) is not body


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ({"secret": "wrong"}, "answered 403: SignatureDoesNotMatch: the secret access key is wrong"),
        ({"key": "AKIANOBODY"}, "answered 403: InvalidAccessKeyId: the access key does not exist"),
        ({"name": "nothing"}, "answered 404: NoSuchBucket: there is no bucket of this name"),
    ],
)
async def test_a_rejected_request_has_the_reason_and_the_remedy(storage, tools, fields, body):
    """
    With the remedy, and without the secret.
    """
    fault, found = await scrape_once(collector(storage, **fields), tools)
    assert fault == f"files assets: GET s3://{fields.get('name', 'shop-assets')}/: {body}"
    assert found == {}


class ScriptedStorage(FakeService):
    """A storage that answers what a test says."""

    key, secret = "AKIA", "secret"
    body = b""

    def respond(self, received: ReceivedRequest) -> Reply:
        return Reply(200, self.body, "application/xml")


GOOD = """<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><IsTruncated>false</IsTruncated>
<Contents><Key>a</Key><Size>7</Size><LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents></ListBucketResult>"""


@pytest.mark.parametrize("fault", [busy(60), broken, half, reset, says(503, b"<Error/>", retry_after="60")])
async def test_the_last_listing_is_kept_while_the_storage_fails(tools, fault):
    """
    It goes on where it was; while the storage wants a rest nothing is asked.
    """
    async with ScriptedStorage() as strange:
        strange.body = GOOD.encode()
        one = collector(strange)
        assert (await scrape_once(one, tools))[1]["folder_size_bytes"] == 7
        tools.clock.advance(3600)
        strange.next(fault)
        body, found = await scrape_once(one, tools)
        assert body
        assert found["folder_size_bytes"] == 7
        tools.clock.advance(120)
        assert (await scrape_once(one, tools))[0] == ""


NONE = (b"", b"<html>", b"<Other/>", *(GOOD.replace(*it).encode() for it in (("7", "many"), ("2026-01", "2026-13"))))


@pytest.mark.parametrize("body", NONE)
async def test_an_invalid_listing_is_an_error(tools, body):
    """
    A page for people, half of one, numbers that are none.
    """
    async with ScriptedStorage() as strange:
        strange.body = body
        fault, found = await scrape_once(collector(strange), tools)
        assert "the response is no listing" in fault
        assert found == {}


async def test_a_bucket_may_contain_backups(storage, tools):
    """
    The newest is as old as it may be.
    """
    _, found = await scrape_once(collector(storage, backup="26h"), tools)
    assert found["backup_age_limit_seconds"] == timedelta(hours=26).total_seconds()
    assert found["backup_newest_timestamp_seconds"] == found["folder_newest_timestamp_seconds"]


def test_either_path_or_bucket_is_required():
    """
    Neither both nor none.
    """
    for fields in ({}, {"path": "/srv", "bucket": {"name": "a", "key": "b", "secret": "c"}}):
        with pytest.raises(ValidationError, match="either `path` or `bucket`"):
            Files.model_validate({"kind": "files", **fields})


def test_the_signature_of_amazons_example_is_reproduced():
    """
    https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html, "GET Bucket (List Objects)".
    """
    bucket = S3Bucket.model_validate(
        {
            "name": "x",
            "region": "us-east-1",
            "key": "AKIAIOSFODNN7EXAMPLE",
            "secret": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        }
    )
    url = "https://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J"
    found = s3.signed_headers(bucket, "GET", url, datetime(2013, 5, 24, tzinfo=UTC))
    assert found["authorization"].endswith("Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7")
    with pytest.raises(ValueError, match="the response is no listing"):
        s3.parse_listing(b"<")
