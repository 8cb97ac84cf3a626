"""toban's own API: what the commands and the first page show."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

import toban
from toban.collect.collecting import Target
from toban.core.ports import Service
from toban.health.answering import Finding, Health
from toban.health.checks import Part, Unknown
from toban.web.json import Json


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
    targets: Sequence[Target]
    health: Sequence[Finding]
    unknown: Sequence[Unknown]
    services: Sequence[tuple[str, bool, str]]

    @property
    def well(self) -> bool:
        """Whether there is nothing to worry about: each target up, each check up, toban itself well."""
        return (
            all(target.up for target in self.targets)
            and all(finding.up for finding in self.health)
            and all(ok for _, ok, _ in self.services)
        )


class Own:
    """Tells about toban and what it watches."""

    def __init__(
        self, about: About, targets: Callable[[], Sequence[Target]], health: Health, services: Sequence[Service]
    ) -> None:
        self._about = about
        self._targets = targets
        self._health = health
        self._services = services

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route("/api/status", self.status)]

    async def overview(self) -> Overview:
        """Return how everything is now."""
        conditions = [(service.name, service.health()) for service in self._services]
        return Overview(
            self._about,
            self._targets(),
            await self._health.findings(Part.HEALTH),
            self._health.unknown,
            [(name, condition.ok, condition.says) for name, condition in conditions],
        )

    async def status(self, request: Request) -> Response:
        """Answer how everything is."""
        return Json(as_json(await self.overview()))


def as_json(overview: Overview) -> dict[str, Any]:
    """Return an overview as plain data."""
    return {
        "version": toban.__version__,
        **asdict(overview.about),
        "well": overview.well,
        "targets": [asdict(target) for target in overview.targets],
        "health": [asdict(finding) for finding in overview.health],
        "unknown": [{"name": unknown.name, "reason": unknown.reason} for unknown in overview.unknown],
        "toban": [{"name": name, "ok": ok, "says": says} for name, ok, says in overview.services],
    }
