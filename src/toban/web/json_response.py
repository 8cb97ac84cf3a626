"""JSON responses."""

from typing import Any

import orjson
from starlette.responses import Response


class JsonResponse(Response):
    """A response in JSON."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Serialize the content."""
        return orjson.dumps(content)
