"""One folder of files, or one bucket."""

import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import Field, PrivateAttr, model_validator

from toban.collect import backup_metrics, s3
from toban.collect.collector import Collector, ScrapeResult
from toban.collect.rest_client import RestClient, RestResponse
from toban.collect.s3 import Bucket
from toban.collect.sql_metrics import is_due
from toban.collect.tools import CollectorTools
from toban.collect.worker_thread import WorkerThread
from toban.core.config_types import Duration
from toban.core.errors import CollectError
from toban.core.samples import Sample, gauge

BYTES: Final = gauge("folder_size_bytes", "Space that the files' contents take.", "bytes")
COUNT: Final = gauge("folder_files", "Files there are.")
NEWEST: Final = gauge(
    "folder_newest_timestamp_seconds", "When the newest file was changed, since the epoch.", "seconds"
)
SAMPLE: Final = gauge("folder_sample_up", "Whether the sample object answers with the right type (1) or not (0).")
SAMPLE_SECONDS: Final = gauge("folder_sample_seconds", "How long the sample object took to answer.", "seconds")


@dataclass(slots=True)
class Tally:
    """What was found in a folder."""

    bytes: int = 0
    count: int = 0
    newest: float = 0.0

    def add(self, size: int, changed: float) -> None:
        """Add a file."""
        self.bytes += size
        self.count += 1
        self.newest = max(self.newest, changed)


@dataclass(slots=True)
class Walk:
    """A listing of a bucket under way: what was found so far, and where it goes on."""

    began: float
    found: Tally = field(default_factory=Tally)
    next: str = ""


class Files(Collector):
    """
    Add up a folder or a bucket: how many files, how large, how new the newest.

    For asset storage (has it stopped growing, is it exploding?) and, with `backup`, for backups. Links are not
    followed. A bucket is listed page by page, over several looks where it is large: its numbers are those of the last
    listing that came to its end. An object that is named as its `sample` is asked for at each look.
    """

    kind: Literal["files"] = "files"

    path: Path | None = None
    """The folder."""

    bucket: Bucket | None = None
    """A bucket that speaks S3, in place of a folder."""

    backup: Duration | None = None
    """That these are backups, and how old the newest may be: `26h` for one a day."""

    interval: Duration = timedelta(minutes=2)

    list_interval: Duration = timedelta(hours=1)
    """How often a bucket is listed anew: each thousand objects are a request that costs."""

    pages: int = Field(default=20, gt=0)
    """How many such requests one look sends at most."""

    _aside: WorkerThread = PrivateAttr(default_factory=WorkerThread)
    _api: RestClient = PrivateAttr(default_factory=lambda: RestClient("the storage", ""))
    _walk: Walk | None = PrivateAttr(default=None)
    _walked: Walk | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.path is None) is (self.bucket is None):
            raise ValueError("it needs either `path` or `bucket`")
        return self

    @property
    def default_instance(self) -> str:
        """The folder, or the bucket."""
        return f"s3://{self.bucket.name}/{self.bucket.prefix}" if self.bucket else str(self.path)

    async def collect(self, tools: CollectorTools) -> ScrapeResult:
        """Walk through the folder, aside: a disk may be slow; or go on with the bucket's listing."""
        if self.bucket:
            return await self._of_bucket(tools, self.bucket)
        until = time.monotonic() + 0.8 * self.interval.total_seconds()
        try:
            found = await self._aside.run(partial(tally, self.path or Path(), until))
        except OSError as error:
            raise CollectError(f"files {self.name}: {error.filename or self.path}: {error.strerror}") from error
        return ScrapeResult(self._samples(found))

    def _samples(self, found: Tally) -> list[Sample]:
        samples = [BYTES.sample(found.bytes), COUNT.sample(found.count)]
        if self.backup:
            samples += [
                backup_metrics.NEWEST.sample(found.newest),
                backup_metrics.LIMIT.sample(self.backup.total_seconds()),
            ]
        return [*samples, NEWEST.sample(found.newest)] if found.count else samples

    async def _of_bucket(self, tools: CollectorTools, bucket: Bucket) -> ScrapeResult:
        troubles = list[str]()
        try:
            await self._go_on(tools, bucket)
        except CollectError as error:
            troubles.append(str(error))
        samples = self._samples(self._walked.found) if self._walked else []
        if bucket.sample:
            began = tools.clock.monotonic()
            trouble = await self._sampled(tools, bucket)
            samples.append(SAMPLE.sample(not trouble))
            if trouble:
                troubles.append(trouble)
            else:
                samples.append(SAMPLE_SECONDS.sample(tools.clock.monotonic() - began))
        return ScrapeResult(samples, error="; ".join(troubles))

    async def _go_on(self, tools: CollectorTools, bucket: Bucket) -> None:
        """Go on with the listing, or begin a new one when it is time. Raises ``CollectError``."""
        now = tools.clock.monotonic()
        before = self._walked.began if self._walked else None
        if self._walk is None and is_due(before, self.list_interval, self.interval, now):
            self._walk = Walk(now)
        for _ in range(self.pages):
            if self._walk is None:
                return
            asked = f"files {self.name}: GET {self.default_instance}"
            url = s3.listing_url(bucket, self._walk.next)
            answered = await self._fetch(tools, bucket, asked, "GET", url)
            if answered.status != 200:
                # A listing can't go on where it was for ever: it begins anew.
                self._walk = None
                raise CollectError(f"{asked}: {s3.error_text(answered.status, answered.body)}")
            page = s3.parse_listing(answered.body, asked)
            for one in page.objects:
                self._walk.found.add(one.size, one.changed)
            self._walk.next = page.next
            if not page.next:
                self._walked, self._walk = self._walk, None

    async def _sampled(self, tools: CollectorTools, bucket: Bucket) -> str:
        """Return what is wrong with the sample; nothing where it is well."""
        asked = f"files {self.name}: HEAD {bucket.sample}"
        try:
            url = s3.object_url(bucket, bucket.sample)
            answered = await self._fetch(tools, bucket, asked, "HEAD", url)
        except CollectError as error:
            return str(error)
        wrong = s3.sample_problem(bucket, answered.status, answered.headers)
        return f"{asked}: {wrong}" if wrong else ""

    async def _fetch(self, tools: CollectorTools, bucket: Bucket, asked: str, method: str, url: str) -> RestResponse:
        return await self._api.fetch(
            tools, asked, method, url, s3.signed_headers(bucket, method, url, tools.clock.now())
        )


def tally(folder: Path, until: float) -> Tally:
    """
    Add up a folder and all in it.

    Raises ``OSError`` when it can't be read, and ``TimeoutError`` when it takes beyond ``until`` (monotonic seconds).
    """
    found, waiting = Tally(), [str(folder)]
    while waiting:
        inside = waiting.pop()
        # What is removed while toban walks is no trouble; that the folder itself is missing is.
        forgiven = () if inside == str(folder) else (FileNotFoundError,)
        with suppress(*forgiven), os.scandir(inside) as entries:
            for entry in entries:
                if time.monotonic() > until:
                    raise TimeoutError(0, f"{found.count} files counted when time was up: raise `interval`")
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    with suppress(FileNotFoundError):
                        facts = entry.stat(follow_symlinks=False)
                        found.add(facts.st_size, facts.st_mtime)
    return found
