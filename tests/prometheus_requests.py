"""Requests to an HTTP API of Prometheus."""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any


def request_api(
    url: str, path: str, parameters: Mapping[str, str | Sequence[str]] | None = None, method: str = "GET"
) -> tuple[int, Any]:
    """Return the status and the body of a response: its parsed JSON, or its text."""
    encoded = urllib.parse.urlencode(parameters or {}, doseq=True)
    endpoint = f"{url}/api/v1/{path}"
    if method == "GET":
        request = urllib.request.Request(f"{endpoint}?{encoded}")
    else:
        request = urllib.request.Request(endpoint, encoded.encode(), method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as response:
            return response.status, _parse(response.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, _parse(error.read())


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode()
