"""JSON answers."""

from typing import Any

import orjson
from starlette.responses import Response


class JsonResponse(Response):
    """An answer in JSON."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Write it."""
        return orjson.dumps(content)
