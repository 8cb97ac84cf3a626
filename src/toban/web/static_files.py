"""Scripts, styles and their libraries: each has the hash of its content in its address, and may be kept for ever."""

import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from toban.access.permissions import Permission
from toban.web.compression import accepts_gzip
from toban.web.endpoint import Endpoint

FILES: Final = {
    "icon.svg": "image/svg+xml",
    "console.css": "text/css",
    "format.js": "text/javascript",
    "dom.js": "text/javascript",
    "console.js": "text/javascript",
    "passkeys.js": "text/javascript",
    "touch.js": "text/javascript",
    "chart.js": "text/javascript",
    "controls.js": "text/javascript",
    "board.js": "text/javascript",
    "vendor/htmx.min.js": "text/javascript",
    "vendor/hx-sse.min.js": "text/javascript",
    "completion.js": "text/javascript",
    "explore.js": "text/javascript",
    "review.js": "text/javascript",
    "vendor/uPlot.iife.min.js": "text/javascript",
    "vendor/uPlot.min.css": "text/css",
}
"""
The files that are served, with their types: a path that is not here is not found, whatever it looks like.

A script stands after those that it imports.
"""


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file, compressed, under its address."""

    name: str
    address: str
    type: str
    content: bytes
    compressed: bytes


@cache
def static_files() -> Mapping[str, StaticFile]:
    """Return all files by their names."""
    found: dict[str, StaticFile] = {}
    for name, media_type in FILES.items():
        content = files("toban.web").joinpath("static", *name.split("/")).read_bytes()
        for imported in found.values():
            content = content.replace(f'"./{imported.name}"'.encode(), f'"{imported.address}"'.encode())
        stem, _, suffix = name.rpartition(".")
        digest = hashlib.sha256(content).hexdigest()[:12]
        address = f"/static/{stem}.{digest}.{suffix}"
        found[name] = StaticFile(name, address, media_type, content, gzip.compress(content, mtime=0))
    return found


def address(name: str) -> str:
    """Return the address of a file."""
    return static_files()[name].address


def route() -> Endpoint:
    """Return the route of all files."""
    return Endpoint("/static/{path:path}", _serve, Permission.PUBLIC)


async def _serve(request: Request) -> Response:
    file = next((it for it in static_files().values() if it.address == request.url.path), None)
    if file is None:
        return PlainTextResponse("404 page not found\n", 404)
    headers = {"cache-control": "public, max-age=31536000, immutable", "vary": "accept-encoding"}
    headers["x-content-type-options"] = "nosniff"
    if accepts_gzip(request):
        return Response(file.compressed, media_type=file.type, headers={**headers, "content-encoding": "gzip"})
    return Response(file.content, media_type=file.type, headers=headers)
