"""Any page of Prometheus' or OpenMetrics' text format."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar, Final, Literal

import httpx2
import numpy as np
from numpy.typing import NDArray
from pydantic import PrivateAttr

from toban.collect.collector import Collector, Look
from toban.collect.reasons import reason
from toban.collect.tools import Tools
from toban.core.errors import CollectError
from toban.core.labels import Labels
from toban.core.samples import Batch, Layout, counter, milliseconds
from toban.core.section import Address, Duration, Secret, Size
from toban.exposition.reading import UNTIMED, ExpositionError, Reader, Reading

DUPLICATES: Final = counter("toban_scrape_duplicates_total", "Series that a page had more than once; the first counts.")

ACCEPT: Final = (
    "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=1.0.0;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)


@dataclass(frozen=True, slots=True)
class Form:
    """What the series of a page came to: a layout, and which numbers of the page belong to it."""

    layout: Layout
    chosen: NDArray[np.intp]
    duplicates: int


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
    """Headers to send; `${NAME}` takes a value from the environment."""

    honor_labels: bool = False
    """Whether the page's own `job` and `instance` stand above the target's, as for a federation or a push gateway."""

    timeout: Duration = timedelta(seconds=10)
    """How long the page may take."""

    size: Size = 50_000_000
    """How many bytes the page may have, after inflation."""

    _reader: Reader = PrivateAttr(default_factory=Reader)
    _forms: dict[tuple[int, tuple[int, ...]], "Form"] = PrivateAttr(default_factory=dict)

    @property
    def looks_at(self) -> str:
        """Host and port, as Prometheus has it."""
        return httpx2.URL(self.url).netloc.decode()

    async def collect(self, tools: Tools) -> Look:
        """Return the page's numbers as batches: one for all, or one for each time that the page names."""
        at = milliseconds(tools.clock.now())
        try:
            async with asyncio.timeout(self.timeout.total_seconds()):
                page, openmetrics = await self._page(tools.http)
        except (httpx2.HTTPError, OSError) as error:
            raise CollectError(f"scrape {self.name}: {self.url}: {reason(error)}") from error
        try:
            # In a thread: a page of ten thousand series takes a tenth of a second when it is new.
            reading = await asyncio.to_thread(self._reader.read, page, openmetrics=openmetrics)
        except ExpositionError as error:
            raise CollectError(f"scrape {self.name}: {self.url}: {error}") from error
        return Look(batches=self._batches(reading, at, tools))

    async def _page(self, client: httpx2.AsyncClient) -> tuple[str, bool]:
        """Return the page, and whether it is OpenMetrics."""
        sent = {
            "accept": ACCEPT,
            "x-prometheus-scrape-timeout-seconds": f"{self.timeout.total_seconds():g}",
            **{name: value.get_secret_value() for name, value in self.headers.items()},
        }
        body = bytearray()
        async with client.stream("GET", self.url, headers=sent, timeout=self.timeout.total_seconds()) as response:
            if response.status_code != 200:
                raise CollectError(f"scrape {self.name}: {self.url}: answered {response.status_code}")
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > self.size:
                    raise CollectError(f"scrape {self.name}: {self.url}: more than {self.size} bytes: raise `size`")
        media = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        try:
            return body.decode(), media == "application/openmetrics-text"
        except UnicodeDecodeError as error:
            raise CollectError(f"scrape {self.name}: {self.url}: no UTF-8: {error}") from error

    def _batches(self, reading: Reading, at: int, tools: Tools) -> list[Batch]:
        if len(reading.ids) > self.limit:
            raise CollectError(
                f"scrape {self.name}: {len(reading.ids)} series, more than its limit of {self.limit}: raise `limit`"
            )
        forms: dict[tuple[int, tuple[int, ...]], Form] = {}
        batches = []
        for time, ids, values in _by_time(reading, at):
            key = self._reader.generation, tuple(ids)
            form = forms[key] = self._forms.get(key) or self._form(ids)
            if form.duplicates:
                tools.meters.add(DUPLICATES, form.duplicates, name=self.name)
            batches.append(Batch(form.layout, time, values[form.chosen]))
        # What this page did not have is forgotten: what comes and goes must not pile up.
        self._forms = forms
        return batches

    def _form(self, ids: Sequence[int]) -> Form:
        families = self._reader.families
        places: dict[Labels, int] = {}
        for place, key in enumerate(ids):
            places.setdefault(self._labels(self._reader.labels[key]), place)
        layout = Layout(places, families.values())
        return Form(layout, np.fromiter(places.values(), np.intp, len(places)), len(ids) - len(places))

    def _labels(self, labels: Labels) -> Labels:
        if self.honor_labels:
            return Labels({**self.target, **labels})
        own = {f"exported_{name}": labels[name] for name in self.target if name in labels}
        return Labels({**labels, **own, **self.target})


def _by_time(reading: Reading, at: int) -> Iterator[tuple[int, Sequence[int], NDArray[np.float64]]]:
    """Return the numbers of a page grouped by their time; those without one were taken at the look's."""
    values = np.array(reading.values, np.float64)
    if not reading.times:
        yield at, reading.ids, values
        return
    groups: dict[int, list[int]] = {}
    for place, time in enumerate(reading.times):
        groups.setdefault(at if time == UNTIMED else time, []).append(place)
    for time, places in groups.items():
        yield time, [reading.ids[place] for place in places], values[places]
