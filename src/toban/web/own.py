"""toban's own API: what the commands and the first page show."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import Response

import toban
from toban.collect.collecting import Target
from toban.core.alerts import Alert, Status
from toban.core.isolation import Isolation, conditions
from toban.core.ports import Service
from toban.health.answering import Finding, Health
from toban.health.checks import Part, Unknown
from toban.health.figures import Value
from toban.instruments.sources import Known
from toban.state.quarantine import Quarantine
from toban.web.alerts import as_json as alert_as_json
from toban.web.endpoint import Endpoint, Permission
from toban.web.json import Json
from toban.web.words import words

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class About:
    """What doesn't change while toban runs."""

    started: datetime
    data: str
    pages: str


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything that the first page and `toban status` tell."""

    about: About
    alerts: Sequence[Alert]
    targets: Sequence[Target]
    health: Sequence[Finding]
    unknown: Sequence[Unknown]
    figures: Sequence[Value]
    missing: Sequence[Known]
    services: Sequence[tuple[str, bool, str]]

    @property
    def well(self) -> bool:
        """Whether there is nothing to worry about: nothing fires, each target up, each check up, toban itself well."""
        return (
            not any(alert.status is Status.FIRING for alert in self.alerts)
            and all(target.up for target in self.targets)
            and all(finding.up for finding in self.health)
            and all(ok for _, ok, _ in self.services)
        )


class Own:
    """Tells about toban and what it watches."""

    def __init__(
        self,
        about: About,
        alerts: Callable[[], Sequence[Alert]],
        targets: Callable[[], Sequence[Target]],
        health: Health,
        services: Sequence[Service],
        quarantine: Quarantine | None = None,
    ) -> None:
        self._about = about
        self._alerts = alerts
        self._targets = targets
        self._health = health
        self._services = services
        self._quarantine = quarantine

    def report(self, owner: str, isolation: Isolation) -> None:
        """Report what could not be shown."""
        if self._quarantine:
            self._quarantine.report(owner, isolation.failures)

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        return [Endpoint("/api/status", self.status, Permission.READ)]

    async def overview(self) -> Overview:
        """Return how everything is now; what can't be told is left out and reported."""
        isolation = Isolation()

        async def part(name: str, found: Awaitable[Sequence[T]]) -> Sequence[T]:
            with isolation.item("overview", name):
                return await found
            return ()

        async def alerts() -> Sequence[Alert]:
            return [alert for alert in self._alerts() if alert.status is not Status.RESOLVED]

        async def targets() -> Sequence[Target]:
            return self._targets()

        found = Overview(
            self._about,
            await part("alerts", alerts()),
            await part("targets", targets()),
            await part("health", self._health.findings(Part.HEALTH)),
            await part("unknown", self._health.unknown()),
            await part("figures", self._health.figures()),
            await part("missing", self._health.missing()),
            [(name, condition.ok, condition.says) for name, condition in conditions(self._services)],
        )
        self.report("overview", isolation)
        return found

    async def status(self, request: Request) -> Response:
        """Answer how everything is."""
        return Json(as_json(await self.overview()))


def as_json(overview: Overview) -> dict[str, Any]:
    """Return an overview as plain data."""
    say = words("en")
    return {
        "version": toban.__version__,
        **asdict(overview.about),
        "well": overview.well,
        "alerts": [alert_as_json(alert) for alert in overview.alerts],
        "targets": [asdict(target) for target in overview.targets],
        "health": [asdict(finding) for finding in overview.health],
        "shop": [{"what": say[f"figure-{it.key}"], "text": it.text, **asdict(it)} for it in overview.figures],
        "missing": [{"what": say[f"known-{it.key}"], "remedy": remedy(it, say)} for it in overview.missing],
        "unknown": [{"name": unknown.name, "reason": unknown.reason} for unknown in overview.unknown],
        "toban": [{"name": name, "ok": ok, "says": says} for name, ok, says in overview.services],
    }


def remedy(known: Known, say: Mapping[str, str]) -> str:
    """Say what would add something that is not known."""
    return say["or"].join(say[f"source-{source.name.lower()}"] for source in known.sources)
