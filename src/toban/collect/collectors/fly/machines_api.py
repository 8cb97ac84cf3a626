"""Client of Fly's Machines API: https://fly.io/docs/machines/api/."""

from typing import Any, Final
from urllib.parse import urlencode

from toban.collect.collectors.fly import machines
from toban.collect.collectors.fly.machines import Machine
from toban.collect.rest_client import RestClient
from toban.collect.tools import HasHttp
from toban.core.errors import CollectError
from toban.core.samples import Sample
from toban.shop.fly import authorization

REMEDY: Final = "use a read-only token of the organisation: fly tokens create readonly"

TIMEOUT: Final = 5.0
"""Seconds that a request may take: a collection in which nothing responds ends in time all the same."""


class MachinesApi:
    """Reads apps, machines, volumes and leases; methods raise ``CollectError``, whose message begins with ``name``."""

    def __init__(self, tools: HasHttp, name: str, address: str, token: str) -> None:
        self._client = RestClient(tools, "Fly's Machines API", REMEDY, TIMEOUT)
        self._name = name
        self._address = address.rstrip("/")
        self._headers = {"authorization": authorization(token)}

    async def organization(self, app: str) -> str:
        """Return the slug of an app's organisation."""
        found = await self._get(f"apps/{app}")
        try:
            return str(found["organization"]["slug"])
        except (KeyError, TypeError) as error:
            raise CollectError(f"{self._name}: GET apps/{app}: the response has no organisation: set `org`") from error

    async def apps(self, organization: str) -> list[str]:
        """Return the names of an organisation's apps."""
        found = await self._get(f"apps?{urlencode({'org_slug': organization})}")
        apps = found.get("apps") if isinstance(found, dict) else None
        context = f"{self._name}: GET apps of {organization}"
        if not isinstance(apps, list):
            raise CollectError(f"{context}: the response is no list of apps")
        names = sorted(str(app["name"]) for app in apps if isinstance(app, dict) and "name" in app)
        if not names:
            raise CollectError(f"{context}: there are none, or the token may not read any: {REMEDY}")
        return names

    async def machines(self, app: str) -> list[Machine]:
        """Return the existing machines of an app, without those that run a single command."""
        return [
            machine
            for item in await self._list(f"apps/{app}/machines")
            if (machine := Machine.parse(app, item)).is_monitored
        ]

    async def volume_samples(self, app: str) -> list[Sample]:
        """Return the samples of an app's volumes."""
        volumes = await self._list(f"apps/{app}/volumes")
        return [sample for volume in volumes for sample in machines.volume_samples(app, volume)]

    async def lease_samples(self, machine: Machine) -> list[Sample]:
        """Return the sample of a machine's lease, if it has one."""
        until = machines.lease_expiry(await self._get(f"apps/{machine.app}/machines/{machine.id}/lease", missing={}))
        return [machines.LEASED.sample(until, **machine.labels)] if until else []

    async def _list(self, path: str) -> list[Any]:
        found = await self._get(path)
        if not isinstance(found, list):
            raise CollectError(f"{self._name}: GET {path}: the response is no list")
        return found

    async def _get(self, path: str, missing: Any = None) -> Any:
        context, url = f"{self._name}: GET {path}", f"{self._address}/v1/{path}"
        return await self._client.call(context, "GET", url, self._headers, missing=missing)
