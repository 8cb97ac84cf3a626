"""Creates and updates dashboards in a Grafana over its HTTP API."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import httpx2
import orjson

from toban.core.errors import ResponseTooLargeError, TobanError
from toban.core.http_client import error_reason, read_body
from toban.core.redaction import redact_url
from toban.dashboards.grafana_export import FOLDER

MAX_RESPONSE: Final = 2**20
"""Bytes of a response that are read."""

TIMEOUT: Final = 15.0
"""Seconds for one request."""

REMEDIES: Final = {
    401: "Grafana does not accept the token: make one for a service account (Administration > Service accounts)",
    403: "the token's service account lacks a permission: give it the role Editor",
    404: "there is no Grafana at this address: give the address of its start page",
    412: "another dashboard in this folder has the same title, or it was changed at the same time: try again",
}


class GrafanaError(TobanError):
    """Grafana can't be reached, or refused a request."""


@dataclass(frozen=True, slots=True)
class GrafanaResponse:
    """A response, with its body as far as it is a JSON object."""

    status: int
    body: Mapping[str, Any]
    retry_after: str = ""


class GrafanaClient:
    """Writes dashboards into toban's folder, with the token of a service account."""

    def __init__(self, url: str, token: str, http: httpx2.AsyncClient) -> None:
        self._url = url.rstrip("/")
        self._shown = redact_url(self._url)
        self._headers = {"authorization": f"Bearer {token}", "accept": "application/json"}
        self._http = http

    async def push(self, dashboards: Sequence[Mapping[str, Any]]) -> list[str]:
        """
        Create or update dashboards; return their addresses.

        They replace what is in Grafana under their uids: changes that were made there are lost. Raises
        ``GrafanaError`` at the first that Grafana refuses, or has not stored although it says so.
        """
        response = await self._request("POST", "/api/folders", {"uid": FOLDER, "title": FOLDER})
        if response.status not in {200, 409, 412}:  # it exists already: 409 or, in older versions, 412
            raise self._refused("the folder", response)
        return [await self._push_one(dashboard) for dashboard in dashboards]

    async def _push_one(self, dashboard: Mapping[str, Any]) -> str:
        what = f"the dashboard {dashboard['title']!r}"
        request = {
            "dashboard": {"id": None, **dashboard},
            "folderUid": FOLDER,
            "message": "by toban",
            "overwrite": True,
        }
        response = await self._request("POST", "/api/dashboards/db", request)
        path = response.body.get("url")
        if response.status != 200 or not isinstance(path, str):
            raise self._refused(what, response)
        stored = await self._request("GET", f"/api/dashboards/uid/{dashboard['uid']}")
        if (stored.body.get("dashboard") or {}).get("title") != dashboard["title"]:
            raise GrafanaError(f"Grafana at {self._shown} accepted {what}, but does not have it: try again")
        return f"{self._shown}{path}"

    async def _request(self, method: str, path: str, content: Mapping[str, Any] | None = None) -> GrafanaResponse:
        try:
            async with (
                asyncio.timeout(TIMEOUT),
                self._http.stream(
                    method, f"{self._url}{path}", json=content, headers=self._headers, timeout=None
                ) as response,
            ):
                body = await read_body(response, MAX_RESPONSE)
        except TimeoutError as error:
            raise GrafanaError(f"Grafana at {self._shown} did not respond within {TIMEOUT:g} s") from error
        except (httpx2.HTTPError, httpx2.InvalidURL, ResponseTooLargeError) as error:
            raise GrafanaError(f"Grafana at {self._shown} can't be reached: {error_reason(error)}") from error
        try:
            found = orjson.loads(body)
        except ValueError:
            found = None
        retry = response.headers.get("retry-after", "")
        return GrafanaResponse(response.status_code, found if isinstance(found, dict) else {}, retry)

    def _refused(self, what: str, response: GrafanaResponse) -> GrafanaError:
        message = str(response.body.get("message", ""))[:300]
        remedy = REMEDIES.get(response.status, "")
        if response.status == 400 and "provisioned" in message:
            remedy = "it is provisioned from a file: export into that folder, or remove it there"
        if response.status == 429:
            remedy = f"try again{f' in {response.retry_after} s' if response.retry_after.isdigit() else ' later'}"
        reason = "".join(f": {part}" for part in (message, remedy) if part)
        return GrafanaError(f"Grafana at {self._shown} refused {what}: answered {response.status}{reason}")
