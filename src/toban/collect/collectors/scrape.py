"""Any page of Prometheus' or OpenMetrics' text format."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated, ClassVar, Final, Literal

import httpx2
from pydantic import Field, PrivateAttr

from toban.collect.collector import Collector, ScrapeResult
from toban.collect.exposition_batches import PageReader
from toban.collect.tools import CollectorTools
from toban.collect.worker_thread import WorkerThread
from toban.core.config_types import Address, Duration, Secret, Size
from toban.core.errors import CollectError, ResponseTooLargeError
from toban.core.http_client import RequestProgress, error_reason, follow_redirects, read_body, within
from toban.core.labels import LabelLimits
from toban.core.samples import counter, milliseconds
from toban.exposition.parser import ExpositionError

DUPLICATES: Final = counter(
    "toban_scrape_duplicate_samples_total", "Series that a page had more than once; the first counts."
)
AHEAD: Final = counter("toban_scrape_future_samples_total", "Samples dropped because they name a time in the future.")

OPENMETRICS: Final = "application/openmetrics-text"
ACCEPT: Final = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=1.0.0;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)


class Scrape(Collector):
    """
    Read an exporter's page, as Prometheus would.

    The page's own `job` and `instance` become `exported_job` and `exported_instance`, unless `honor_labels` lets them
    stand. Samples with a time of their own keep it.
    """

    kind: Literal["scrape"] = "scrape"

    exposes: ClassVar[bool] = False

    url: Address
    """The page, like http://127.0.0.1:9100/metrics."""

    headers: Mapping[str, Secret] = {}
    """Headers to send; `${NAME}` takes a value from the environment. A redirect takes none to another host."""

    honor_labels: bool = False
    """Whether the page's own `job` and `instance` stand above the target's, as for a federation or a push gateway."""

    scrape_timeout: Duration = timedelta(seconds=10)
    """How long the page may take."""

    body_size_limit: Size = 10_000_000
    """How many bytes the page may have, after inflation."""

    label_limit: Annotated[int, Field(ge=0)] = 100
    """How many labels a series may have, the target's own and its name included; 0 for any number. A page with more is
    refused, as by Prometheus."""

    label_name_length_limit: Annotated[int, Field(ge=0)] = 512
    """How many bytes the name of a label may have; 0 for any number."""

    label_value_length_limit: Annotated[int, Field(ge=0)] = 8_192
    """How many bytes the value of a label may have; 0 for any number."""

    _aside: WorkerThread = PrivateAttr(default_factory=WorkerThread)
    _pages: PageReader | None = PrivateAttr(default=None)

    @property
    def default_instance(self) -> str:
        """Host and port, as Prometheus has it."""
        return httpx2.URL(self.url).netloc.decode()

    async def collect(self, tools: CollectorTools) -> ScrapeResult:
        """Return the page's numbers as batches: one for all, or one for each time that the page names."""
        at = milliseconds(tools.clock.now())
        self._pages = pages = self._pages or PageReader(
            self.target, self.sample_limit, self._labels, honor=self.honor_labels
        )
        try:
            async with within(self.scrape_timeout.total_seconds()) as progress:
                page, media = await self._page(tools.http, progress)
        except (httpx2.HTTPError, OSError) as error:
            raise CollectError(f"{self._asked}: {error_reason(error)}") from error
        try:
            # Aside: a page of ten thousand series takes a tenth of a second when it is new.
            found = await self._aside.run(lambda: pages.read(page, at, openmetrics=media == OPENMETRICS))
        except ExpositionError as error:
            raise CollectError(f"{self._asked}: {error} (its type is {media or 'not told'})") from error
        if found.duplicates:
            tools.meters.add(DUPLICATES, found.duplicates, name=self.name)
        if found.ahead:
            tools.meters.add(AHEAD, found.ahead, name=self.name)
        return ScrapeResult(batches=found.batches)

    @property
    def _labels(self) -> LabelLimits:
        return LabelLimits(self.label_limit, self.label_name_length_limit, self.label_value_length_limit)

    @property
    def _asked(self) -> str:
        return f"scrape {self.name}: {self.url.partition('?')[0]}"

    async def _page(self, client: httpx2.AsyncClient, progress: RequestProgress) -> tuple[str, str]:
        """Return the page and its media type."""
        sent = {
            "accept": ACCEPT,
            "accept-encoding": "gzip",
            "x-prometheus-scrape-timeout-seconds": f"{self.scrape_timeout.total_seconds():g}",
            **{name: value.get_secret_value() for name, value in self.headers.items()},
        }
        extensions = {"trace": progress.trace}
        async with follow_redirects(
            client, "GET", self.url, headers=sent, timeout=progress.timeout, extensions=extensions
        ) as response:
            if response.status_code != 200:
                raise CollectError(f"{self._asked}: answered {response.status_code}")
            try:
                body = await read_body(response, self.body_size_limit)
            except ResponseTooLargeError as error:
                raise CollectError(f"{self._asked}: {error}: raise `body_size_limit` if they are wanted") from error
        try:
            return body.decode(), response.headers.get("content-type", "").partition(";")[0].strip().lower()
        except UnicodeDecodeError as error:
            raise CollectError(f"{self._asked}: no UTF-8: {error.reason} at byte {error.start}") from error
