"""Collectors: what toban.yaml says of a target, and the running object that reads it."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Final, Literal, Self

from toban.collect.tools import CollectorTools
from toban.core.config_types import Duration
from toban.core.plugins import Plugin, PluginRegistry
from toban.core.samples import Batch, Sample
from toban.shop.connections import ShopConnections


@dataclass(frozen=True, slots=True)
class ScrapeResult:
    """
    The result of one collection, where samples alone do not say enough.

    ``error`` says in a few words why the target is unhealthy although it could be read: it is then down (``up`` is 0)
    and its samples are kept all the same. ``notes`` are what `toban check` reports about a target that is up: what
    can't be read, and what would allow it.

    ``unchanged`` are batches of an earlier collection whose series have no new samples and go on all the same.
    ``stored`` is called once the store has the samples.
    """

    samples: Sequence[Sample] = ()
    batches: Sequence[Batch] = ()
    error: str = ""
    notes: Sequence[str] = ()
    unchanged: Sequence[Batch] = ()
    stored: Callable[[], None] | None = None

    @classmethod
    def of(cls, found: "Iterable[Sample] | ScrapeResult") -> "ScrapeResult":
        """Return what a collector returned as a result."""
        return found if isinstance(found, ScrapeResult) else cls(tuple(found))


class Scraper(ABC):
    """
    A running collector: it holds what is kept between two collections, like clients, caches and the last answers.

    It is opened before the first collection, and used on after a reload that leaves its settings as they are. What it
    holds may be lost at any time; what must not be lost is in state.
    """

    @abstractmethod
    async def collect(self) -> Iterable[Sample] | ScrapeResult:
        """
        Read the target once.

        Batches must already carry the target's labels. Raises ``CollectError`` when the target can't be read.
        """

    async def check(self) -> ScrapeResult:
        """
        Read the target once for `toban check`, changing and storing nothing.

        Raises ``CollectError`` when the target can't be read.
        """
        return ScrapeResult.of(await self.collect())


class Collector(Plugin):
    """
    The settings of one target, as toban.yaml has them.

    A collector that keeps nothing between two collections overrides `collect`, any other one `open`. It reports
    counters rather than rates: PromQL subtracts.
    """

    exposes: ClassVar[bool] = True
    """Whether `/metrics` shows its series (it does not show what was scraped from others)."""

    shop_part: ClassVar[Literal["database", "redis"] | None] = None
    """The part of the shop that it reads, whose address is its default instance."""

    interval: Duration = timedelta(seconds=30)
    """Collection interval. A collection that takes longer is cancelled and counts as failed."""

    job: str = ""
    """The label `job` of its series; by default its name."""

    instance: str = ""
    """The label `instance` of its series; by default the address, path or machine that it reads."""

    sample_limit: int = 10_000
    """The most series that one collection may return; with more it counts as failed."""

    enabled: bool = True
    """Set to false to disable it."""

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Refuse a collector that can't collect."""
        if cls.collect is Collector.collect and cls.open is Collector.open:
            raise TypeError(f"{cls.__name__} must define `collect` or `open`")

    @property
    def target(self) -> dict[str, str]:
        """The labels of its target: every series carries them, unless `common` says otherwise."""
        return {"job": self.job or self.name, "instance": self.instance or self.default_instance}

    @property
    def common(self) -> dict[str, str]:
        """The labels that are added to its samples: those of `target`, unless each sample names its own instance."""
        return self.target

    @property
    def default_instance(self) -> str:
        """What it reads, in one word without secrets: an address, a path, this machine."""
        return self.name

    def located(self, shop: ShopConnections) -> Self:
        """Return it with the address of its part of the shop as instance, unless one is set."""
        part = {"database": shop.database, "redis": shop.redis, None: None}[self.shop_part]
        return self.model_copy(update={"instance": part.address}) if part and not self.instance else self

    async def collect(self, tools: CollectorTools) -> Iterable[Sample] | ScrapeResult:
        """Read the target once: see `Scraper.collect`."""
        return await self.open(tools).collect()

    def open(self, tools: CollectorTools) -> Scraper:
        """Return the running collector. Raises ``CollectError`` where the shop lacks a part that it reads."""
        return _StatelessScraper(self, tools)


class _StatelessScraper(Scraper):
    """Runs a collector that keeps nothing between two collections."""

    def __init__(self, collector: Collector, tools: CollectorTools) -> None:
        self._collector = collector
        self._tools = tools

    async def collect(self) -> Iterable[Sample] | ScrapeResult:
        """Read the target once."""
        return await self._collector.collect(self._tools)


COLLECTORS: Final = PluginRegistry("toban.collect.collectors", Collector, "collector")
