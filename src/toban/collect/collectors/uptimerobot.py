"""UptimeRobot, which looks at the shop from outside: https://uptimerobot.com/api/v3/."""

import html
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal
from urllib.parse import urljoin, urlsplit

from pydantic import PrivateAttr

from toban.collect.collector import Collector, ScrapeResult
from toban.collect.rest_client import RestClient
from toban.collect.tools import CollectorTools
from toban.core.config_types import Address, Duration, Secret
from toban.core.errors import CollectError
from toban.core.samples import Sample, gauge
from toban.shop.settings import ShopSettings

UP: Final = gauge("uptimerobot_monitor_up", "Whether UptimeRobot reaches it (1) or not (0); absent while it is paused.")
PAUSED: Final = gauge("uptimerobot_monitor_paused", "Whether a monitor is paused (1) or not (0).")
STATE: Final = gauge("uptimerobot_monitor_state_seconds", "How long a monitor has been as it is.", "seconds")
UPTIME: Final = gauge("uptimerobot_monitor_uptime_ratio", "The share of the last day that it was reached.")
CERTIFICATE: Final = gauge(
    "uptimerobot_monitor_certificate_expiry_timestamp_seconds", "When its certificate ends, in Unix time.", "seconds"
)
FAMILIES: Final = (UP, PAUSED, STATE, UPTIME, CERTIFICATE)

PAGES: Final = 20
"""How many pages of monitors are read."""

AGAIN: Final = timedelta(hours=1)
"""How long after a monitor was asked for it is asked for again, if it isn't there."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A monitor that there should be."""

    name: str
    url: str
    holds: str = ""
    """A text that the page must hold."""


class Uptimerobot(Collector):
    """
    Read how UptimeRobot sees the shop, and let it look at what it should look at.

    Monitors for toban's own `/health` and the storefront are made where there are none for their addresses; those that
    are there stay as they are. Its webhook may post to `/hooks/uptimerobot` (docs/NOTIFYING.md), which is faster.
    """

    kind: Literal["uptimerobot"] = "uptimerobot"

    interval: Duration = timedelta(minutes=2)

    key: Secret
    """A main API key; with one that may only read, no monitor is made."""

    health: Address | None = None
    """Where UptimeRobot reaches toban's /health: https://toban.example.com/health"""

    storefront: bool = True
    """Whether it is to look at shop.storefront too."""

    monitor_interval: Duration = timedelta(minutes=5)
    """How often it looks; less than five minutes wants a paid plan."""

    api: Address = "https://api.uptimerobot.com/v3"
    """Where its API is."""

    _asked: dict[str, tuple[float, str]] = PrivateAttr(default_factory=dict)
    _api: RestClient = PrivateAttr(default_factory=lambda: RestClient("UptimeRobot", "use a main API key"))

    @property
    def default_instance(self) -> str:
        """The API's host."""
        return urlsplit(self.api).netloc

    async def collect(self, tools: CollectorTools) -> ScrapeResult:
        """Return how each monitor is, and make those that are missing."""
        now = tools.clock.monotonic()
        monitors = [one async for page in self._pages(tools) for one in page]
        troubles = []
        for wanted in self._missing(monitors, tools.shop.settings):
            before, trouble = self._asked.get(wanted.url, (None, ""))
            if before is None or now - before >= AGAIN.total_seconds():
                trouble = await self._make(tools, wanted)
                self._asked[wanted.url] = now, trouble or f"{wanted.name}: it was made, and isn't there"
            troubles += [trouble] if trouble else []
        samples = [sample for monitor in monitors for sample in told(monitor)]
        return ScrapeResult(samples, error="; ".join(troubles))

    async def check(self, tools: CollectorTools) -> ScrapeResult:
        """Say which monitors there are, and which would be made; make none."""
        monitors = [one async for page in self._pages(tools) for one in page]
        missing = self._missing(monitors, tools.shop.settings)
        notes = [f"`toban up` lets UptimeRobot look at {wanted.url}" for wanted in missing]
        return ScrapeResult([sample for monitor in monitors for sample in told(monitor)], notes=notes)

    async def _make(self, tools: CollectorTools, wanted: Wanted) -> str:
        """Make a monitor; return why not, if it can't be made."""
        try:
            await self._call(tools, "POST", f"{self.api}/monitors", self._body(wanted))
        except CollectError as error:
            return f"{wanted.name}: can't be made: {error}"
        return ""

    def _missing(self, monitors: Sequence[Mapping[str, Any]], shop: ShopSettings) -> list[Wanted]:
        wanted = [Wanted("toban: health", self.health, '"status":"ok"')] if self.health else []
        if self.storefront and shop.storefront:
            wanted.append(Wanted("toban: storefront", shop.storefront, shop.check.storefront))
        there = {_address(str(monitor.get("url", ""))) for monitor in monitors}
        return [one for one in wanted if _address(one.url) not in there]

    def _body(self, wanted: Wanted) -> dict[str, Any]:
        kind: dict[str, Any] = {"type": "HTTP"}
        if wanted.holds:
            # A keyword that exists is what alerts, in its words: down is when the text is not there.
            kind = {"type": "KEYWORD", "keywordType": "ALERT_NOT_EXISTS", "keywordValue": wanted.holds}
        seconds = round(self.monitor_interval.total_seconds())
        return {"friendlyName": wanted.name, "url": wanted.url, "interval": seconds, "timeout": 30, **kind}

    async def _pages(self, tools: CollectorTools) -> AsyncIterator[list[dict[str, Any]]]:
        """Yield the monitors, page by page."""
        url = f"{self.api}/monitors"
        for _ in range(PAGES):
            found = await self._call(tools, "GET", url)
            page = found.get("data", found.get("monitors")) if isinstance(found, dict) else None
            if not isinstance(page, list):
                raise CollectError(f"{self.name}: the answer holds no list of monitors")
            yield [one for one in page if isinstance(one, dict)]
            following = found.get("nextLink")
            if not following:
                return
            url = urljoin(url, str(following))
            if urlsplit(url).netloc != urlsplit(self.api).netloc:
                raise CollectError(f"{self.name}: the next page is said to be at {urlsplit(url).netloc}: not followed")

    async def _call(self, tools: CollectorTools, method: str, url: str, body: Mapping[str, Any] | None = None) -> Any:
        headers = {"authorization": f"Bearer {self.key.get_secret_value()}"}
        asked = f"{self.name}: {method} {url.partition('?')[0]}"
        return await self._api.call(tools, asked, method, url, headers, body)


def told(monitor: Mapping[str, Any]) -> Iterator[Sample]:
    """Return the numbers in what it says of a monitor; what it doesn't say is no number."""
    labels = {
        "monitor": html.unescape(str(monitor.get("friendlyName", ""))),
        "url": str(monitor.get("url", "")).partition("?")[0],
    }
    status = str(monitor.get("status", "")).upper()
    if status in {"UP", "DOWN"}:
        yield UP.sample(status == "UP", **labels)
    yield PAUSED.sample(status == "PAUSED", **labels)
    if isinstance(seconds := monitor.get("currentStateDuration"), int | float):
        yield STATE.sample(seconds, **labels)
    days = (monitor.get("lastDayUptimes") or {}).get("histogram") or []
    shares = [one["uptime"] for one in days if isinstance(one, dict) and isinstance(one.get("uptime"), int | float)]
    if shares:
        yield UPTIME.sample(sum(shares) / len(shares) / 100, **labels)
    try:
        yield CERTIFICATE.sample(datetime.fromisoformat(str(monitor.get("sslExpiryDateTime"))).timestamp(), **labels)
    except ValueError:
        return  # it knows no certificate


def _address(url: str) -> str:
    return url.rstrip("/").lower()
