"""Creates and updates dashboards in a Grafana over its HTTP API."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import httpx2
import orjson

from toban.core.errors import TobanError
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
}


class GrafanaError(TobanError):
    """Grafana can't be reached, or refused a request."""


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
        ``GrafanaError`` at the first that Grafana refuses.
        """
        status, body = await self._post("/api/folders", {"uid": FOLDER, "title": FOLDER})
        if status not in {200, 409, 412}:  # it exists already: 409 or, in older versions, 412
            raise self._refused("the folder", status, body)
        found = []
        for dashboard in dashboards:
            request = {"dashboard": {"id": None, **dashboard}, "folderUid": FOLDER, "message": "by toban"}
            status, body = await self._post("/api/dashboards/db", {**request, "overwrite": True})
            path = body.get("url")
            if status != 200 or not isinstance(path, str):
                raise self._refused(f"the dashboard {dashboard['title']!r}", status, body)
            found.append(f"{self._shown}{path}")
        return found

    async def _post(self, path: str, content: Mapping[str, Any]) -> tuple[int, Mapping[str, Any]]:
        try:
            async with self._http.stream(
                "POST", f"{self._url}{path}", json=content, headers=self._headers, timeout=TIMEOUT
            ) as response:
                body = await read_body(response, MAX_RESPONSE)
                status = response.status_code
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
            raise GrafanaError(f"Grafana at {self._shown} can't be reached: {error_reason(error)}") from error
        try:
            found = orjson.loads(body)
        except ValueError:
            found = None
        return status, found if isinstance(found, dict) else {}

    def _refused(self, what: str, status: int, body: Mapping[str, Any]) -> GrafanaError:
        message = str(body.get("message", ""))[:300]
        remedy = REMEDIES.get(status, "")
        if status == 400 and "provisioned" in message:
            remedy = "it is provisioned from a file: export into that folder, or delete the provider"
        if status == 412:
            remedy = "another dashboard in this folder has the same title or was changed at the same time: try again"
        reason = ": ".join(part for part in (message, remedy) if part)
        return GrafanaError(
            f"Grafana at {self._shown} refused {what}: answered {status}{f': {reason}' if reason else ''}"
        )
