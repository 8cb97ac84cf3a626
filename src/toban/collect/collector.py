"""What reads numbers from one target."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import ClassVar, Final

from toban.collect.tools import CollectorTools
from toban.core.config_types import Duration
from toban.core.plugins import Plugin, PluginRegistry
from toban.core.samples import Batch, Sample
from toban.shop.connections import ShopConnections


@dataclass(frozen=True, slots=True)
class ScrapeResult:
    """
    What one look at a target brought, where samples alone don't tell.

    ``error`` says in a few words why the target is not well although it could be looked at: it is then down
    (``up`` is 0) and its samples are kept all the same. ``notes`` are what `toban check` has to say of a target that
    is up: what can't be seen, and what would show it.

    ``unchanged`` has series that are not told this time and go on all the same, as they were told last. ``stored`` is
    called once the samples were handed to the store.
    """

    samples: Sequence[Sample] = ()
    batches: Sequence[Batch] = ()
    error: str = ""
    notes: Sequence[str] = ()
    unchanged: Sequence[Batch] = ()
    stored: Callable[[], None] | None = None


class Collector(Plugin, ABC):
    """
    Reads one target every so often.

    It keeps nothing that matters between two looks: a cache may be thrown away at any time.
    It reports counters rather than rates, since PromQL knows how to subtract.
    """

    exposes: ClassVar[bool] = True
    """Whether its numbers are toban's own to show at ``/metrics`` (what it scraped from others is not)."""

    interval: Duration = timedelta(seconds=30)
    """How often to look. A look that takes longer is cut off and counts as down."""

    job: str = ""
    """The label `job` of its series; its name unless set."""

    instance: str = ""
    """The label `instance` of its series; what it looks at unless set."""

    sample_limit: int = 10_000
    """The most series one look may bring; more, and the look counts as failed."""

    enabled: bool = True
    """Set to false to leave it out."""

    @property
    def target(self) -> dict[str, str]:
        """The labels of its target: every series carries them, unless `common` says otherwise."""
        return {"job": self.job or self.name, "instance": self.instance or self.default_instance}

    @property
    def common(self) -> dict[str, str]:
        """The labels that its samples get: those of `target`, unless each names an instance of its own."""
        return self.target

    @property
    def default_instance(self) -> str:
        """What it looks at, in a word without secrets: an address, a path, this machine."""
        return self.name

    def address_in(self, shop: ShopConnections) -> str:
        """Return the address of the part of the shop that it looks at, which is then its instance; nothing if none."""
        return ""

    @abstractmethod
    async def collect(self, tools: CollectorTools) -> Iterable[Sample] | ScrapeResult:
        """
        Look once.

        Batches must already carry `target`'s labels. Raises ``CollectError`` when the target can't be read.
        """

    async def check(self, tools: CollectorTools) -> ScrapeResult:
        """
        Look once for `toban check`, keeping nothing: there is no state.

        Raises ``CollectError`` when the target can't be read.
        """
        found = await self.collect(tools)
        return found if isinstance(found, ScrapeResult) else ScrapeResult(tuple(found))


COLLECTORS: Final = PluginRegistry("toban.collect.collectors", Collector, "collector")  # type: ignore[type-abstract]  # the root of the family is never made itself
