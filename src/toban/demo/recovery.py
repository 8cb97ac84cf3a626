"""The demo's recovery: runbooks that start what was broken, and the incident as it went, with its report."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal

import httpx2

from toban.core.paths import SOCKET
from toban.core.ports import Clock

POLL_INTERVAL: Final = 2.0
"""Seconds between two looks at the incidents."""

TIMEOUT: Final = 20.0
"""Seconds that toban may take to answer."""

RECOVERABLE: Final = ("database", "redis", "worker")
"""The faults after which a machine is stopped: runbooks start it again."""

RecoveryMode = Literal["auto", "ask"]
"""The mode of the runbooks."""


def write_runbooks(folder: Path) -> Sequence[str]:
    """Write the runbooks into a folder; return their names."""
    target = folder / "runbooks"
    target.mkdir(parents=True, exist_ok=True)
    shipped = [it for it in files("toban.demo").joinpath("runbooks").iterdir() if it.name.endswith(".yaml")]
    for it in shipped:
        (target / it.name).write_bytes(it.read_bytes())
    return sorted(it.name.removesuffix(".yaml") for it in shipped)


@asynccontextmanager
async def toban_api(data: Path) -> AsyncIterator[httpx2.AsyncClient]:
    """Yield a client of the toban with a data folder."""
    transport = httpx2.AsyncHTTPTransport(uds=str(data / SOCKET))
    async with httpx2.AsyncClient(transport=transport, base_url="http://toban", timeout=TIMEOUT) as http:
        yield http


@dataclass(frozen=True, slots=True)
class Recovery:
    """Follows what toban does about a fault, from the moment at which it was injected."""

    http: httpx2.AsyncClient
    clock: Clock
    broken: datetime

    async def reports(self, is_running: Callable[[], bool]) -> Sequence[tuple[Mapping[str, Any], str]]:
        """Wait until all of the shop is running and each incident is resolved; return them, each with its report."""
        while True:
            try:
                if is_running() and (found := await self._resolved()):
                    return [(it, (await self._get("report", it["id"]))["markdown"]) for it in found]
            except httpx2.HTTPError:  # it is busy: the next look tells
                pass
            await self.clock.sleep(POLL_INTERVAL)

    async def _resolved(self) -> Sequence[Mapping[str, Any]]:
        """Return the incidents since the break, oldest first, if there are some and all are resolved."""
        listed = (await self.http.get("/api/incidents")).raise_for_status().json()["incidents"]
        found = [it for it in listed if datetime.fromisoformat(it["opened"]) >= self.broken]
        if any(it["state"] != "resolved" for it in found):
            return ()
        return [await self._get("details", it["id"]) for it in reversed(found)]

    async def _get(self, what: str, number: int) -> Any:
        response = await self.http.get(f"/api/incidents/{what}", params={"id": str(number)})
        return response.raise_for_status().json()

    def timeline(self, incident: Mapping[str, Any]) -> str:
        """Return the timeline of an incident, with the seconds since the break."""
        title = f"#{incident['id']} {incident['priority']} {incident['title']}"
        entries = [(datetime.fromisoformat(it["at"]), str(it["text"])) for it in incident["timeline"]]
        return "\n".join([title, *(f"{self._since(at)}  {text}" for at, text in entries)])

    def elapsed(self) -> str:
        """Return the time since the break, as the start of a line."""
        return self._since(self.clock.now())

    def _since(self, at: datetime) -> str:
        return f"{(at - self.broken).total_seconds():5.0f} s"
