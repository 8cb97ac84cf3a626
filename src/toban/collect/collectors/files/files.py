"""The collector `files`: a folder of files, or a bucket."""

import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final, Literal, Self

from pydantic import Field, model_validator

from toban.collect import backup_metrics
from toban.collect.collector import Collector, Scraper, ScrapeResult
from toban.collect.collectors.files.bucket import Bucket, sample_problem
from toban.collect.intervals import is_due
from toban.collect.rest_client import RestClient, RestResponse
from toban.collect.tools import HasHttp
from toban.core import s3
from toban.core.config_types import Duration
from toban.core.errors import CollectError
from toban.core.samples import Sample, gauge
from toban.core.worker_thread import WorkerThread

BYTES: Final = gauge("folder_size_bytes", "Total size of the files.", "bytes")
COUNT: Final = gauge("folder_files", "Number of files.")
NEWEST: Final = gauge(
    "folder_newest_timestamp_seconds", "Modification time of the newest file, in seconds since the epoch.", "seconds"
)
SAMPLE: Final = gauge(
    "folder_sample_up", "Whether the sample object is readable and of the expected type (1) or not (0)."
)
SAMPLE_SECONDS: Final = gauge("folder_sample_seconds", "Duration of the request for the sample object.", "seconds")


@dataclass(slots=True)
class Usage:
    """The files that were found so far."""

    bytes: int = 0
    count: int = 0
    newest: float = 0.0

    def add(self, size: int, changed: float) -> None:
        """Add a file."""
        self.bytes += size
        self.count += 1
        self.newest = max(self.newest, changed)


@dataclass(slots=True)
class Listing:
    """A listing of a bucket: when it began, the objects so far, and the token of the next page."""

    began: float
    usage: Usage = field(default_factory=Usage)
    next: str = ""


class Files(Collector):
    """
    Measure a folder or a bucket: number of files, total size, time of the newest.

    For asset storage (has it stopped growing, does it explode?) and, with `backup`, for backups. Symbolic links are not
    followed. A bucket is listed page by page, over several collections where it is large: its metrics are those of the
    last complete listing. The object named as `sample` is requested at each collection.
    """

    kind: Literal["files"] = "files"

    path: Path | None = None
    """The folder."""

    bucket: Bucket | None = None
    """An S3-compatible bucket, instead of a folder."""

    backup: Duration | None = None
    """That the files are backups, and the highest allowed age of the newest: `26h` for one a day."""

    interval: Duration = timedelta(minutes=2)

    list_interval: Duration = timedelta(hours=1)
    """Interval of a bucket's listing: each thousand objects are a request that costs."""

    pages: int = Field(default=20, gt=0)
    """The most of these requests in one collection."""

    @model_validator(mode="after")
    def _path_or_bucket(self) -> Self:
        if (self.path is None) is (self.bucket is None):
            raise ValueError("set either `path` or `bucket`")
        return self

    @property
    def default_instance(self) -> str:
        """The folder, or the bucket."""
        return f"s3://{self.bucket.name}/{self.bucket.prefix}" if self.bucket else str(self.path)

    def open(self, tools: HasHttp) -> Scraper:
        """Keep the thread that reads the folder, or the bucket's listing."""
        return BucketScraper(self, self.bucket, tools) if self.bucket else FolderScraper(self, self.path or Path())

    def samples(self, usage: Usage) -> list[Sample]:
        """Return the samples of what was found."""
        samples = [BYTES.sample(usage.bytes), COUNT.sample(usage.count)]
        if self.backup:
            samples += [
                backup_metrics.NEWEST.sample(usage.newest),
                backup_metrics.LIMIT.sample(self.backup.total_seconds()),
            ]
        return [*samples, NEWEST.sample(usage.newest)] if usage.count else samples


class FolderScraper(Scraper):
    """Reads a folder, in a thread: a disk may be slow."""

    def __init__(self, collector: Files, path: Path) -> None:
        self._collector = collector
        self._path = path
        self._thread = WorkerThread()

    async def collect(self) -> ScrapeResult:
        """Measure the folder."""
        until = time.monotonic() + 0.8 * self._collector.interval.total_seconds()
        try:
            usage = await self._thread.run(partial(measure_folder, self._path, until))
        except OSError as error:
            path = error.filename or self._path
            raise CollectError(f"files {self._collector.name}: {path}: {error.strerror}") from error
        return ScrapeResult(self._collector.samples(usage))


class BucketScraper(Scraper):
    """Lists a bucket page by page."""

    def __init__(self, collector: Files, bucket: Bucket, tools: HasHttp) -> None:
        self._collector = collector
        self._bucket = bucket
        self._clock = tools.clock
        self._api = RestClient(tools, "the storage", "")
        self._listing: Listing | None = None
        self._complete: Listing | None = None

    async def collect(self) -> ScrapeResult:
        """Continue the listing, and request the sample."""
        errors = list[str]()
        try:
            await self._list()
        except CollectError as error:
            errors.append(str(error))
        samples = self._collector.samples(self._complete.usage) if self._complete else []
        if self._bucket.sample:
            started = self._clock.monotonic()
            sample_error = await self._request_sample()
            samples.append(SAMPLE.sample(not sample_error))
            if sample_error:
                errors.append(sample_error)
            else:
                samples.append(SAMPLE_SECONDS.sample(self._clock.monotonic() - started))
        return ScrapeResult(samples, error="; ".join(errors))

    async def _list(self) -> None:
        """Continue the listing, or begin a new one when it is due. Raises ``CollectError``."""
        collector, now = self._collector, self._clock.monotonic()
        last = self._complete.began if self._complete else None
        if self._listing is None and is_due(last, collector.list_interval, collector.interval, now):
            self._listing = Listing(now)
        for _ in range(collector.pages):
            if self._listing is None:
                return
            context = f"files {collector.name}: GET {collector.default_instance}"
            response = await self._fetch(context, "GET", s3.listing_url(self._bucket, self._listing.next))
            if response.status != 200:
                # Tokens of a listing expire: it begins anew.
                self._listing = None
                raise CollectError(f"{context}: {s3.error_text(response.status, response.body)}")
            try:
                page = s3.parse_listing(response.body)
            except ValueError as error:
                raise CollectError(f"{context}: {error}") from error
            for found in page.objects:
                self._listing.usage.add(found.size, found.changed)
            self._listing.next = page.next
            if not page.next:
                self._complete, self._listing = self._listing, None

    async def _request_sample(self) -> str:
        """Return what is wrong with the sample; empty where nothing is."""
        context = f"files {self._collector.name}: HEAD {self._bucket.sample}"
        try:
            response = await self._fetch(context, "HEAD", s3.object_url(self._bucket, self._bucket.sample))
        except CollectError as error:
            return str(error)
        problem = sample_problem(self._bucket, response.status, response.headers)
        return f"{context}: {problem}" if problem else ""

    async def _fetch(self, context: str, method: str, url: str) -> RestResponse:
        headers = s3.signed_headers(self._bucket, method, url, self._clock.now())
        return await self._api.fetch(context, method, url, headers)


def measure_folder(folder: Path, until: float) -> Usage:
    """
    Return the usage of a folder and everything in it.

    Raises ``OSError`` when it can't be read, and ``TimeoutError`` when it takes beyond ``until`` (monotonic seconds).
    """
    found, waiting = Usage(), [str(folder)]
    while waiting:
        current = waiting.pop()
        # A folder that is removed meanwhile is no error; that the folder itself is missing is one.
        ignored = () if current == str(folder) else (FileNotFoundError,)
        with suppress(*ignored), os.scandir(current) as entries:
            for entry in entries:
                if time.monotonic() > until:
                    raise TimeoutError(0, f"{found.count} files counted until the timeout: raise `interval`")
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    with suppress(FileNotFoundError):
                        status = entry.stat(follow_symlinks=False)
                        found.add(status.st_size, status.st_mtime)
    return found
