"""The collector `scrape`: an exporter's page."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, ClassVar, Final, Literal, Protocol

import httpx2
from pydantic import Field

from toban.collect.collector import Collector, Scraper, ScrapeResult
from toban.collect.collectors.scrape.exposition_batches import PageReader
from toban.collect.tools import HasHttp, HasMeters
from toban.core.config_types import Address, Duration, Secret, Size
from toban.core.errors import CollectError, ResponseTooLargeError
from toban.core.http_client import RequestProgress, error_reason, follow_redirects, read_body, request_timeout
from toban.core.labels import LabelLimits
from toban.core.samples import counter, milliseconds
from toban.core.worker_thread import WorkerThread
from toban.exposition.parser import ExpositionError

DUPLICATES: Final = counter(
    "toban_scrape_duplicate_samples_total",
    "Samples dropped because the page had the series more than once; the first counts.",
    labels=("name",),
)
FUTURE: Final = counter(
    "toban_scrape_future_samples_total", "Samples dropped because their timestamps are in the future.", labels=("name",)
)

OPENMETRICS: Final = "application/openmetrics-text"
ACCEPT: Final = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=1.0.0;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)


class Tools(HasHttp, HasMeters, Protocol):
    """What the collector uses."""


class Scrape(Collector):
    """
    Scrape an exporter, as Prometheus would.

    The page's own `job` and `instance` become `exported_job` and `exported_instance`, unless `honor_labels` keeps them.
    Samples with timestamps keep them.
    """

    kind: Literal["scrape"] = "scrape"

    exposes: ClassVar[bool] = False

    url: Address
    """Address of the page, like http://127.0.0.1:9100/metrics."""

    headers: Mapping[str, Secret] = {}
    """Headers to send; `${NAME}` is read from the environment. A redirect to another host gets none."""

    honor_labels: bool = False
    """Whether the page's own `job` and `instance` win over the target's, as for federation or a Pushgateway."""

    scrape_timeout: Duration = timedelta(seconds=10)
    """Timeout of the request."""

    body_size_limit: Size = 10_000_000
    """The most bytes that the page may have, decompressed."""

    label_limit: Annotated[int, Field(ge=0)] = 100
    """The most labels that a series may have, the target's labels and its name included; 0 for no limit. A page with
    more fails the scrape, as in Prometheus."""

    label_name_length_limit: Annotated[int, Field(ge=0)] = 512
    """The most bytes of a label name; 0 for no limit."""

    label_value_length_limit: Annotated[int, Field(ge=0)] = 8_192
    """The most bytes of a label value; 0 for no limit."""

    @property
    def default_instance(self) -> str:
        """Host and port, as in Prometheus."""
        return httpx2.URL(self.url).netloc.decode()

    @property
    def label_limits(self) -> LabelLimits:
        """The limits of labels."""
        return LabelLimits(self.label_limit, self.label_name_length_limit, self.label_value_length_limit)

    def open(self, tools: Tools) -> Scraper:
        """Keep the parsed series of the last page."""
        return PageScraper(self, tools)


class PageScraper(Scraper):
    """Requests the page and parses it."""

    def __init__(self, collector: Scrape, tools: Tools) -> None:
        self._collector = collector
        self._clock = tools.clock
        self._http = tools.http
        self._meters = tools.meters
        self._thread = WorkerThread()
        self._pages = PageReader(
            collector.target, collector.sample_limit, collector.label_limits, honor_labels=collector.honor_labels
        )
        self._context = f"scrape {collector.name}: {collector.url.partition('?')[0]}"

    async def collect(self) -> ScrapeResult:
        """Return the page's samples as batches: one for all, or one for each timestamp on the page."""
        at = milliseconds(self._clock.now())
        try:
            async with request_timeout(self._collector.scrape_timeout.total_seconds()) as progress:
                page, media_type = await self._page(progress)
        except (httpx2.HTTPError, OSError) as error:
            raise CollectError(f"{self._context}: {error_reason(error)}") from error
        try:
            # In a thread: a page of ten thousand series takes a tenth of a second when it is new.
            found = await self._thread.run(lambda: self._pages.read(page, at, openmetrics=media_type == OPENMETRICS))
        except ExpositionError as error:
            raise CollectError(f"{self._context}: {error} (its type is {media_type or 'not given'})") from error
        if found.duplicates:
            self._meters.add(DUPLICATES, found.duplicates, name=self._collector.name)
        if found.future:
            self._meters.add(FUTURE, found.future, name=self._collector.name)
        return ScrapeResult(batches=found.batches)

    async def _page(self, progress: RequestProgress) -> tuple[str, str]:
        """Return the page and its media type."""
        collector = self._collector
        headers = {
            "accept": ACCEPT,
            "accept-encoding": "gzip",
            "x-prometheus-scrape-timeout-seconds": f"{collector.scrape_timeout.total_seconds():g}",
            **{name: value.get_secret_value() for name, value in collector.headers.items()},
        }
        extensions = {"trace": progress.trace}
        async with follow_redirects(
            self._http, "GET", collector.url, headers=headers, timeout=progress.timeout, extensions=extensions
        ) as response:
            if response.status_code != 200:
                raise CollectError(f"{self._context}: answered {response.status_code}")
            try:
                body = await read_body(response, collector.body_size_limit)
            except ResponseTooLargeError as error:
                raise CollectError(f"{self._context}: {error}: raise `body_size_limit` if they are wanted") from error
        try:
            return body.decode(), response.headers.get("content-type", "").partition(";")[0].strip().lower()
        except UnicodeDecodeError as error:
            raise CollectError(f"{self._context}: not UTF-8: {error.reason} at byte {error.start}") from error
