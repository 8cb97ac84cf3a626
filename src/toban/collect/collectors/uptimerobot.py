"""The collector `uptimerobot`: monitors outside the shop's network (https://uptimerobot.com/api/v3/)."""

import html
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal, Protocol
from urllib.parse import urljoin, urlsplit

from toban.collect.collector import Collector, Scraper, ScrapeResult
from toban.collect.rest_client import RestClient
from toban.collect.tools import HasHttp, HasShopSettings
from toban.core.config_types import Address, Duration, Secret
from toban.core.errors import CollectError
from toban.core.samples import Sample, gauge

LABELS: Final = ("monitor", "url")
UP: Final = gauge(
    "uptimerobot_monitor_up", "Whether the monitor is up (1) or down (0); absent while it is paused.", labels=LABELS
)
PAUSED: Final = gauge("uptimerobot_monitor_paused", "Whether the monitor is paused (1) or not (0).", labels=LABELS)
STATE: Final = gauge(
    "uptimerobot_monitor_state_seconds", "Time since the monitor's state changed.", "seconds", labels=LABELS
)
UPTIME: Final = gauge(
    "uptimerobot_monitor_uptime_ratio", "Share of the last day that the monitor was up.", labels=LABELS
)
CERTIFICATE: Final = gauge(
    "uptimerobot_monitor_certificate_expiry_timestamp_seconds",
    "When its certificate expires, in Unix time.",
    "seconds",
    labels=LABELS,
)
FAMILIES: Final = (UP, PAUSED, STATE, UPTIME, CERTIFICATE)

MAX_PAGES: Final = 20
"""Pages of monitors that are read."""

RETRY_INTERVAL: Final = timedelta(hours=1)
"""Time until the creation of a monitor that is still missing is tried again."""


@dataclass(frozen=True, slots=True)
class WantedMonitor:
    """A monitor that should exist."""

    name: str
    url: str
    keyword: str = ""
    """A text that the page must contain."""


class Tools(HasHttp, HasShopSettings, Protocol):
    """What the collector uses."""


class Uptimerobot(Collector):
    """
    Read the state of UptimeRobot's monitors, and create the monitors that are missing.

    Monitors for toban's own `/health` and the storefront are created where none has their address; existing ones are
    not changed. UptimeRobot's webhook may post to `/hooks/uptimerobot` (docs/send-alerts.md), which is faster.
    """

    kind: Literal["uptimerobot"] = "uptimerobot"

    interval: Duration = timedelta(minutes=2)

    key: Secret
    """A main API key; with a read-only key no monitor is created."""

    health: Address | None = None
    """The public address of toban's /health: https://toban.example.com/health"""

    storefront: bool = True
    """Whether to monitor shop.storefront too."""

    monitor_interval: Duration = timedelta(minutes=5)
    """The interval of created monitors; less than five minutes needs a paid plan."""

    api: Address = "https://api.uptimerobot.com/v3"
    """Base address of the API."""

    @property
    def default_instance(self) -> str:
        """The API's host."""
        return urlsplit(self.api).netloc

    def open(self, tools: Tools) -> Scraper:
        """Keep the API client, and which monitors were created when."""
        return UptimerobotScraper(self, tools)


class UptimerobotScraper(Scraper):
    """Reads the monitors, and creates those that are missing."""

    def __init__(self, collector: Uptimerobot, tools: Tools) -> None:
        self._collector = collector
        self._clock = tools.clock
        self._shop = tools.shop_settings
        self._api = RestClient(tools, "UptimeRobot", "use a main API key")
        self._attempts: dict[str, tuple[float, str]] = {}

    async def collect(self) -> ScrapeResult:
        """Return the state of each monitor, and create those that are missing."""
        now = self._clock.monotonic()
        monitors = [monitor async for page in self._pages() for monitor in page]
        errors = []
        for wanted in self._missing(monitors):
            last, error = self._attempts.get(wanted.url, (None, ""))
            if last is None or now - last >= RETRY_INTERVAL.total_seconds():
                error = await self._create(wanted)
                self._attempts[wanted.url] = now, error or f"{wanted.name}: was created, and is missing"
            errors += [error] if error else []
        return ScrapeResult(
            [sample for monitor in monitors for sample in monitor_samples(monitor)], error="; ".join(errors)
        )

    async def check(self) -> ScrapeResult:
        """Report which monitors would be created, and create none."""
        monitors = [monitor async for page in self._pages() for monitor in page]
        notes = [f"`toban up` creates a monitor at UptimeRobot for {it.url}" for it in self._missing(monitors)]
        return ScrapeResult([sample for monitor in monitors for sample in monitor_samples(monitor)], notes=notes)

    async def _create(self, wanted: WantedMonitor) -> str:
        """Create a monitor; return the error, if any."""
        try:
            await self._call("POST", f"{self._collector.api}/monitors", self._body(wanted))
        except CollectError as error:
            return f"{wanted.name}: can't be created: {error}"
        return ""

    def _missing(self, monitors: Sequence[Mapping[str, Any]]) -> list[WantedMonitor]:
        collector, shop = self._collector, self._shop
        wanted = [WantedMonitor("toban: health", collector.health, '"status":"ok"')] if collector.health else []
        if collector.storefront and shop.storefront:
            wanted.append(WantedMonitor("toban: storefront", shop.storefront, shop.check.storefront))
        existing = {_normalized(str(monitor.get("url", ""))) for monitor in monitors}
        return [it for it in wanted if _normalized(it.url) not in existing]

    def _body(self, wanted: WantedMonitor) -> dict[str, Any]:
        type_: dict[str, Any] = {"type": "HTTP"}
        if wanted.keyword:
            # UptimeRobot's ALERT_NOT_EXISTS: the monitor is down while the text is missing.
            type_ = {"type": "KEYWORD", "keywordType": "ALERT_NOT_EXISTS", "keywordValue": wanted.keyword}
        seconds = round(self._collector.monitor_interval.total_seconds())
        return {"friendlyName": wanted.name, "url": wanted.url, "interval": seconds, "timeout": 30, **type_}

    async def _pages(self) -> AsyncIterator[list[dict[str, Any]]]:
        """Yield the monitors, page by page."""
        name, api = self._collector.name, self._collector.api
        url = f"{api}/monitors"
        for _ in range(MAX_PAGES):
            found = await self._call("GET", url)
            page = found.get("data", found.get("monitors")) if isinstance(found, dict) else None
            if not isinstance(page, list):
                raise CollectError(f"{name}: the response has no list of monitors")
            yield [monitor for monitor in page if isinstance(monitor, dict)]
            following = found.get("nextLink")
            if not following:
                return
            url = urljoin(url, str(following))
            if urlsplit(url).netloc != urlsplit(api).netloc:
                raise CollectError(f"{name}: the next page is on another host, {urlsplit(url).netloc}: not requested")

    async def _call(self, method: str, url: str, body: Mapping[str, Any] | None = None) -> Any:
        headers = {"authorization": f"Bearer {self._collector.key.get_secret_value()}"}
        context = f"{self._collector.name}: {method} {url.partition('?')[0]}"
        return await self._api.call(context, method, url, headers, body)


def monitor_samples(monitor: Mapping[str, Any]) -> Iterator[Sample]:
    """Yield the samples of a monitor; a missing field has none."""
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
    shares = [day["uptime"] for day in days if isinstance(day, dict) and isinstance(day.get("uptime"), int | float)]
    if shares:
        yield UPTIME.sample(sum(shares) / len(shares) / 100, **labels)
    try:
        yield CERTIFICATE.sample(datetime.fromisoformat(str(monitor.get("sslExpiryDateTime"))).timestamp(), **labels)
    except ValueError:
        return  # no certificate is known


def _normalized(url: str) -> str:
    return url.rstrip("/").lower()
