"""Backups in an S3-compatible bucket."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Final, NamedTuple

import httpx2
import structlog

from toban.core import s3
from toban.core.errors import ResponseTooLargeError
from toban.core.http_client import error_reason, read_body, request_timeout
from toban.core.ports import Clock
from toban.core.s3 import S3Bucket
from toban.maintenance.backups.errors import BackupError, Problem
from toban.maintenance.backups.place import MAX_FILES, BackupPlace, FileWriter, StoredFile

log = structlog.get_logger("toban.maintenance")

PART: Final = 8 * 2**20
"""
Bytes of a part, which is in memory while it is sent.

All parts but the last have one size, as Cloudflare R2 wants it; 10,000 parts are the most that S3 allows.
"""
MAX_PARTS: Final = 10_000
ANSWER_SECONDS: Final = 60.0
PART_SECONDS: Final = 300.0
"""Seconds that sending a part may take."""
STALL_SECONDS: Final = 60.0
"""Seconds that a file that is read may send nothing."""
ATTEMPTS: Final = 4
"""How often a request is sent that fails by the network or the storage."""
MAX_ANSWER: Final = 16 * 2**20


class Answer(NamedTuple):
    """An answer of the storage."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class BucketPlace(BackupPlace):
    """A bucket; requests that fail by the network are repeated."""

    def __init__(self, bucket: S3Bucket, http: httpx2.AsyncClient, clock: Clock) -> None:
        self._bucket = bucket
        self._http = http
        self._clock = clock

    @property
    def address(self) -> str:
        """The bucket, and the prefix in it."""
        return f"s3://{self._bucket.name}/{self._bucket.prefix}"

    async def files(self) -> Sequence[StoredFile]:
        """Return the objects."""
        found, token = list[StoredFile](), ""
        while True:
            answer = await self.send("GET", s3.listing_url(self._bucket, token))
            try:
                page = s3.parse_listing(answer.body)
            except ValueError as error:
                raise BackupError(Problem.PLACE, f"{self.address}: {error}") from error
            for it in page.objects:
                name = it.name.removeprefix(self._bucket.prefix)
                if name and "/" not in name:
                    found.append(StoredFile(name, it.size, datetime.fromtimestamp(it.changed, UTC)))
            if len(found) > MAX_FILES:
                raise BackupError(Problem.PLACE, f"{self.address} has more than {MAX_FILES:,} objects")
            token = page.next
            if not token:
                return found

    async def read(self, name: str) -> AsyncIterator[bytes]:
        """Yield the pieces of an object."""
        url = s3.object_url(self._bucket, self._key(name))
        headers = {**s3.signed_headers(self._bucket, "GET", url, self._clock.now()), "accept-encoding": "identity"}
        try:
            async with self._http.stream("GET", url, headers=headers, timeout=STALL_SECONDS) as response:
                if response.status_code != 200:
                    body = await read_body(response, MAX_ANSWER)
                    raise self._error(response.status_code, body, f"GET {name}")
                async for piece in response.aiter_raw():
                    yield piece
        except (httpx2.HTTPError, OSError, ResponseTooLargeError) as error:
            raise BackupError(Problem.PLACE, f"{self.address}: GET {name}: {error_reason(error)}") from error

    @asynccontextmanager
    async def writer(self, name: str) -> AsyncIterator["_BucketWriter"]:
        """Open an upload; it is aborted unless it is committed."""
        writer = _BucketWriter(self, self._bucket, self._key(name))
        try:
            yield writer
        finally:
            # Shielded: also an upload whose task was cancelled must not stay, as its parts cost money.
            await asyncio.shield(writer.abort())

    async def delete(self, name: str) -> None:
        """Delete an object."""
        await self.send("DELETE", s3.object_url(self._bucket, self._key(name)), expected=(200, 204))

    async def clean(self, prefix: str) -> int:
        """Abort uploads that were begun and not completed."""
        try:
            begun = s3.parse_uploads((await self.send("GET", s3.uploads_url(self._bucket))).body)
        except ValueError as error:
            raise BackupError(Problem.PLACE, f"{self.address}: {error}") from error
        found = [it for it in begun if it.name.startswith(self._key(f"{prefix}-"))]
        for it in found:
            await self.send(
                "DELETE", s3.object_url(self._bucket, it.name, {"uploadId": it.id}), expected=(200, 204, 404)
            )
        return len(found)

    async def free(self) -> int | None:
        """Return None: a bucket has no end."""
        return None

    def _key(self, name: str) -> str:
        return f"{self._bucket.prefix}{name}"

    async def send(
        self,
        method: str,
        url: str,
        body: bytes = b"",
        *,
        expected: Sequence[int] = (200,),
        seconds: float = ANSWER_SECONDS,
    ) -> Answer:
        """Send a request, and again where the network or the storage fails. Raises ``BackupError``."""
        digest = await asyncio.to_thread(lambda: hashlib.sha256(body).hexdigest())
        for attempt in range(1, ATTEMPTS + 1):
            error = None
            try:
                answer = await self._send(method, url, body, digest, seconds)
            except (httpx2.HTTPError, OSError, ResponseTooLargeError) as caught:
                error = BackupError(Problem.PLACE, f"{self.address}: {method}: {error_reason(caught)}")
                error.__cause__ = caught
            else:
                if answer.status in expected:
                    return answer
                error = self._error(answer.status, answer.body, method)
                if answer.status < 500 and answer.status != 429:
                    raise error
            if attempt == ATTEMPTS:
                raise error
            await self._clock.sleep(2.0**attempt / 2)
        raise AssertionError("unreachable")

    async def _send(self, method: str, url: str, body: bytes, digest: str, seconds: float) -> Answer:
        headers = s3.signed_headers(self._bucket, method, url, self._clock.now(), digest)
        async with (
            request_timeout(seconds) as progress,
            self._http.stream(
                method,
                url,
                headers=headers,
                content=body,
                timeout=progress.timeout,
                extensions={"trace": progress.trace},
            ) as response,
        ):
            return Answer(response.status_code, response.headers, await read_body(response, MAX_ANSWER))

    def _error(self, status: int, body: bytes, doing: str) -> BackupError:
        return BackupError(Problem.PLACE, f"{self.address}: {doing}: {s3.error_text(status, body)}")


class _BucketWriter(FileWriter):
    """An upload in parts; a file that fits into one part is sent as a whole."""

    def __init__(self, place: BucketPlace, bucket: S3Bucket, key: str) -> None:
        self._place = place
        self._bucket = bucket
        self._key = key
        self._rest = bytearray()
        self._upload = ""
        self._tags: dict[int, str] = {}
        self._sent = 0

    async def write(self, data: bytes) -> None:
        """Write another piece."""
        self._rest += data
        while len(self._rest) > PART:
            with memoryview(self._rest) as view:
                part = bytes(view[:PART])
            del self._rest[:PART]
            await self._send_part(part)

    async def commit(self) -> None:
        """Complete the upload."""
        if not self._upload:
            await self._place.send("PUT", self._url({}), bytes(self._rest), seconds=PART_SECONDS)
            return
        await self._send_part(bytes(self._rest))
        url = self._url({"uploadId": self._upload})
        body = s3.parts_body(self._tags)
        answer = await self._place.send("POST", url, body, expected=(200, 404), seconds=PART_SECONDS)
        # Repeated after an answer that was lost, it is not known any more: then the file is there.
        if not s3.completes_upload(answer.body) and not await self._is_there():
            text = s3.error_text(answer.status, answer.body)
            raise BackupError(Problem.PLACE, f"{self._place.address}: the upload was not completed: {text}")
        self._upload = ""

    async def abort(self) -> None:
        """End the upload, so that nothing of it stays."""
        if not self._upload:
            return
        try:
            await self._place.send("DELETE", self._url({"uploadId": self._upload}), expected=(200, 204, 404))
        except BackupError as error:
            log.warning("upload not aborted, the next run tries again", place=self._place.address, error=str(error))

    async def _is_there(self) -> bool:
        answer = await self._place.send("HEAD", self._url({}), expected=(200, 404))
        return answer.status == 200 and answer.headers.get("content-length") == str(self._sent)

    async def _send_part(self, data: bytes) -> None:
        number = len(self._tags) + 1
        if number > MAX_PARTS:
            raise BackupError(Problem.PLACE, f"{self._place.address}: it has more than {MAX_PARTS:,} parts of 8 MiB")
        try:
            if not self._upload:
                self._upload = s3.parse_upload_id((await self._place.send("POST", self._url({"uploads": ""}))).body)
        except ValueError as error:
            raise BackupError(Problem.PLACE, f"{self._place.address}: {error}") from error
        url = self._url({"partNumber": str(number), "uploadId": self._upload})
        answer = await self._place.send("PUT", url, data, seconds=PART_SECONDS)
        self._tags[number] = answer.headers.get("etag", "")
        self._sent += len(data)

    def _url(self, parameters: Mapping[str, str]) -> str:
        return s3.object_url(self._bucket, self._key, parameters)
