"""The demo's recovery: runbooks that start what was broken, and the incident as it went, with its report."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Literal

import httpx2

from toban.core.paths import SOCKET

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


@dataclass(frozen=True, slots=True)
class Recovery:
    """Follows the incidents of a toban by its data folder."""

    data: Path
    broken: datetime

    async def reports(self) -> Sequence[tuple[Mapping[str, Any], str]]:
        """Wait until what was broken is an incident that is resolved; return each with its report."""
        transport = httpx2.AsyncHTTPTransport(uds=str(self.data / SOCKET))
        async with httpx2.AsyncClient(transport=transport, base_url="http://toban", timeout=TIMEOUT) as http:
            while True:
                if found := await self._resolved(http):
                    return [(it, (await _get(http, "report", it["id"]))["markdown"]) for it in found]
                await asyncio.sleep(POLL_INTERVAL)

    async def _resolved(self, http: httpx2.AsyncClient) -> Sequence[Mapping[str, Any]]:
        """Return the incidents since the break, if there are some and all are resolved."""
        listed = (await http.get("/api/incidents")).raise_for_status().json()["incidents"]
        found = [it for it in listed if datetime.fromisoformat(it["opened"]) >= self.broken]
        if any(it["state"] != "resolved" for it in found):
            return ()
        return [await _get(http, "details", it["id"]) for it in reversed(found)]

    def timeline(self, incident: Mapping[str, Any]) -> str:
        """Return the timeline of an incident, with the seconds since the break."""
        title = f"#{incident['id']} {incident['priority']} {incident['title']}"
        entries = [(datetime.fromisoformat(it["at"]), str(it["text"])) for it in incident["timeline"]]
        return "\n".join([title, *(f"{self._since(at)}  {text}" for at, text in entries)])

    def elapsed(self) -> str:
        """Return the time since the break, as the start of a line."""
        return self._since(datetime.now(UTC))

    def _since(self, at: datetime) -> str:
        return f"{(at - self.broken).total_seconds():5.0f} s"


async def _get(http: httpx2.AsyncClient, what: str, number: int) -> Any:
    return (await http.get(f"/api/incidents/{what}", params={"id": str(number)})).raise_for_status().json()


def recovery_from_now(data: Path) -> Recovery:
    """Return the recovery from a fault that is injected now."""
    return Recovery(data, datetime.now(UTC))
