"""Backups in a bucket: in parts, with constant memory, and nothing left of an upload that was interrupted."""

import asyncio
import os
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest

from tests import servers
from tests.fake_http import FakeService, ReceivedRequest, Reply, broken, reset
from tests.fakes import FakeClock
from tests.integration.backup_tools import failure, file_names, fill, run, tools_with
from tests.s3_server import REGION, Storage, s3_server
from tests.vendure import Vendure, vendure
from toban.core.s3 import S3Bucket
from toban.maintenance.backups.bucket_place import PART, Answer, BucketPlace
from toban.maintenance.backups.errors import BackupError, Problem
from toban.maintenance.tasks.backup import Backup
from toban.maintenance.tasks.backup_check import BackupCheck


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Storage]:
    with s3_server(tmp_path_factory.mktemp("moto"), lambda client: client.create_bucket(Bucket="backups")) as started:
        yield started


@pytest.fixture(scope="module")
def shop() -> Iterator[Vendure]:
    with servers.postgres() as server, vendure(server) as it:
        fill(it, 5)
        yield it


@pytest.fixture
async def place(storage: Storage, request: pytest.FixtureRequest) -> AsyncIterator[BucketPlace]:
    async with httpx2.AsyncClient() as http:
        yield BucketPlace(bucket(storage, f"{request.node.name[:30]}/"), http, FakeClock(datetime.now(UTC)))


def bucket(storage: Storage, prefix: str) -> S3Bucket:
    return S3Bucket.model_validate(fields(storage, prefix))


def fields(storage: Storage, prefix: str) -> dict[str, str]:
    return {
        "name": "backups",
        "prefix": prefix,
        "endpoint": storage.url,
        "region": REGION,
        "key": storage.key,
        "secret": storage.secret,
    }


def uploads(storage: Storage) -> list[str]:
    return [it["Key"] for it in storage.client().list_multipart_uploads(Bucket="backups").get("Uploads", [])]


async def read(place: BucketPlace, name: str) -> bytes:
    return b"".join([piece async for piece in place.read(name)])


@pytest.mark.parametrize("size", [0, 10, PART, PART + 1, 2 * PART + 12345])
async def test_a_file_of_any_size_comes_back_as_it_was_written(place: BucketPlace, size: int):
    data = os.urandom(size)
    async with place.writer("a file.dump") as writer:
        for start in range(0, size, 700_001):
            await writer.write(data[start : start + 700_001])
        assert await place.files() == []
        await writer.commit()
    (found,) = await place.files()
    assert (found.name, found.size) == ("a file.dump", size)
    assert await read(place, "a file.dump") == data
    await place.delete("a file.dump")
    assert await place.files() == []


async def test_an_upload_that_fails_or_is_cancelled_is_aborted(place: BucketPlace, storage: Storage):
    async def upload() -> None:
        async with place.writer("shop-1.dump") as writer:
            await writer.write(bytes(PART + 1))
            started.set()
            await asyncio.Event().wait()

    started = asyncio.Event()
    task = asyncio.ensure_future(upload())
    await started.wait()
    assert any(it.endswith("/shop-1.dump") for it in uploads(storage))
    task.cancel()
    await asyncio.wait([task])
    assert not any(it.endswith("/shop-1.dump") for it in uploads(storage))
    assert await place.files() == []


async def test_uploads_of_killed_processes_are_aborted_and_those_of_others_are_not(
    place: BucketPlace, storage: Storage
):
    client, prefix = storage.client(), place.address.removeprefix("s3://backups/")
    for name in ("shop-1.dump", "other-1.dump"):
        client.create_multipart_upload(Bucket="backups", Key=f"{prefix}{name}")
    assert await place.clean("shop") == 1
    assert f"{prefix}other-1.dump" in uploads(storage)
    assert f"{prefix}shop-1.dump" not in uploads(storage)
    assert await place.clean("shop") == 0


async def test_memory_stays_the_same_however_large_a_backup_is(place: BucketPlace):
    async def peak(parts: int) -> int:
        tracemalloc.start()
        async with place.writer("large.dump") as writer:
            for _ in range(parts * 8):
                await writer.write(bytes(2**20))
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert await peak(6) < 1.5 * await peak(2) + 2**20 < 5 * PART


async def test_a_wrong_key_and_a_missing_bucket_are_said_with_the_remedy(storage: Storage):
    async with httpx2.AsyncClient() as http:
        clock = FakeClock(datetime.now(UTC))
        wrong = bucket(storage, "").model_copy(update={"name": "nothing"})
        with pytest.raises(BackupError, match="answered 404: NoSuchBucket: there is no bucket of this name"):
            await BucketPlace(wrong, http, clock).files()
        with pytest.raises(BackupError, match="GET gone: answered 404: NoSuchKey"):
            await read(BucketPlace(bucket(storage, ""), http, clock), "gone")


class Flaky(FakeService):
    """A storage that accepts everything."""

    def respond(self, received: ReceivedRequest) -> Reply:
        return Reply(200, b"", "application/xml")


@pytest.mark.parametrize("fault", [broken, reset])
async def test_a_request_that_fails_by_the_network_is_repeated(fault: object):
    async with Flaky() as service, httpx2.AsyncClient() as http:
        settings = {"name": "b", "endpoint": service.url, "key": "k", "secret": "s"}
        place = BucketPlace(S3Bucket.model_validate(settings), http, FakeClock(datetime.now(UTC)))
        service.next(fault)
        async with place.writer("x.dump") as writer:
            await writer.write(b"data")
            await writer.commit()


@pytest.mark.parametrize("kept", [0, 1])
async def test_an_upload_whose_last_answer_is_lost_is_complete_when_the_file_is_there(
    place: BucketPlace, storage: Storage, monkeypatch: pytest.MonkeyPatch, kept: int
):
    send, lost = place.send, []

    async def answers_are_lost(method: str, url: str, body: bytes = b"", **options: object):
        if method == "POST" and "uploadId=" in url:
            lost.append((await send(method, url, body, **options)).status)
            if not kept:
                await place.delete("shop-9.dump")
            return Answer(404, {}, b"<Error><Code>NoSuchUpload</Code></Error>")
        return await send(method, url, body, **options)

    monkeypatch.setattr(place, "send", answers_are_lost)
    async with place.writer("shop-9.dump") as writer:
        await writer.write(bytes(PART + 5))
        if kept:
            await writer.commit()
            assert [(it.name, it.size) for it in await place.files()] == [("shop-9.dump", PART + 5)]
        else:
            with pytest.raises(BackupError, match="the upload was not completed: answered 404: NoSuchUpload"):
                await writer.commit()
    assert lost == [200]


async def test_a_shop_is_backed_up_into_a_bucket_and_checked_there(storage: Storage, shop: Vendure, tmp_path: Path):
    where = {"path": None, "bucket": fields(storage, "db/"), "passphrase": "a passphrase"}
    tools = tools_with(tmp_path, shop.server.address(shop.name), **where)
    plan, result = await run(Backup(), tools)
    assert plan.steps[0].description.endswith("to s3://backups/db/")
    _, checked = await run(BackupCheck(), tools)
    assert checked.text == "pg_restore has read all of it; its checksum is right"
    names = [it["Key"] for it in storage.client().list_objects_v2(Bucket="backups", Prefix="db/")["Contents"]]
    assert [it.removeprefix("db/").partition("Z")[2] for it in sorted(names)] == [".dump.age", ".dump.age.json"]
    assert file_names(tmp_path) == []
    data = await read(BucketPlace(bucket(storage, "db/"), tools.http, tools.clock), result.text.split(":")[0])
    storage.client().put_object(Bucket="backups", Key=min(names), Body=data[: len(data) // 2])
    name, said = await failure(BackupCheck(), tools)
    assert name == Problem.CUT_OFF
    assert f"{len(data) // 2:,} of {len(data):,} bytes are there" in said
