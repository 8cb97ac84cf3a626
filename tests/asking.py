"""Questions to whatever speaks Prometheus' HTTP API."""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any


def ask(
    url: str, path: str, parameters: Mapping[str, str | Sequence[str]] | None = None, method: str = "GET"
) -> tuple[int, Any]:
    """Return the status and the answer: what its JSON says, or its text."""
    written = urllib.parse.urlencode(parameters or {}, doseq=True)
    address = f"{url}/api/v1/{path}"
    if method == "GET":
        request = urllib.request.Request(f"{address}?{written}")
    else:
        request = urllib.request.Request(address, written.encode(), method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, _read(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _read(error.read())


def _read(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode()
