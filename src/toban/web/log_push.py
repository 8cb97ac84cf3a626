"""Ingest endpoints of log lines: Loki's push API, and toban's own."""

from functools import partial
from typing import Any, Final

from pydantic import BaseModel, ConfigDict, RootModel
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from toban.access.permissions import Permission
from toban.core.errors import StoreError
from toban.logs.push.json_lines import JsonLinesError
from toban.logs.push.loki_request import PushError
from toban.logs.push.receiver import LogPushReceiver
from toban.web.api.log_models import LogsPushResponse
from toban.web.endpoint import Endpoint, Operation
from toban.web.ingest import EVENTS
from toban.web.json_response import JsonResponse
from toban.web.loki_api import loki_error
from toban.web.problem_details import FieldError, problem
from toban.web.request_bodies import RETRY_AFTER, read_body, read_compressed

JSON_LINES: Final = EVENTS
"""The types of JSON Lines, and of an array in JSON."""

LOKI: Final = frozenset({"application/json", "application/x-protobuf"})


class PushedLine(BaseModel):
    """A line in the fields of winston. A field of another type than usual, and any other field, becomes a fact."""

    model_config = ConfigDict(extra="allow", json_schema_extra={"minProperties": 1})

    message: Any = None
    level: Any = None
    timestamp: Any = None
    service: Any = None
    environment: Any = None
    instance: Any = None
    context: Any = None
    trace_id: Any = None


class LogsPushRequest(RootModel[PushedLine | list[PushedLine]]):
    """One line, or an array of them; as JSON Lines, one on each line."""


class LogPushApi:
    """Reads bodies and passes them to the receiver of lines."""

    def __init__(self, receiver: LogPushReceiver, limit: int) -> None:
        self._receiver = receiver
        self._limit = limit

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        push = partial(Endpoint, permission=Permission.PUSH, methods=["POST"], largest=self._limit)
        return [
            push("/loki/api/v1/push", self.loki, takes=LOKI, refuse=loki_error),
            push(
                "/api/logs",
                self.lines,
                takes=JSON_LINES,
                operation=Operation.of(self.lines, LogsPushRequest, LogsPushResponse),
            ),
        ]

    async def loki(self, request: Request) -> Response:
        """Store lines of Loki's push API."""
        try:
            if request.headers.get("content-type", "").startswith("application/json"):
                await self._receiver.loki_json(await read_body(request))
            else:
                # Some senders name the compression, which is always snappy's.
                is_plain = request.headers.get("content-encoding", "snappy").strip().lower() in {"snappy", "identity"}
                body = await (read_compressed if is_plain else read_body)(request)
                await self._receiver.loki_protobuf(body, self._limit)
        except PushError as error:
            return PlainTextResponse(f"{error}\n", 400)
        except StoreError as error:
            return PlainTextResponse(f"not stored: {error}\n", 503, {"retry-after": str(RETRY_AFTER)})
        return Response(status_code=204)

    async def lines(self, request: Request) -> Response:
        """
        Store log lines: one object, an array, or JSON Lines, in the fields of winston.

        Lines that can't be read are named in the error; the others are stored.
        """
        try:
            found = await self._receiver.json_lines(await read_body(request))
        except JsonLinesError as error:
            return problem(400, str(error))
        except StoreError as error:
            return problem(503, f"not stored: {error}", headers={"retry-after": str(RETRY_AFTER)})
        if found.rejected:
            errors = [FieldError(field="", line=it.line, message=it.message) for it in found.errors]
            return problem(422, f"{found.rejected} lines were rejected, {len(found.lines)} were stored", errors)
        return JsonResponse(LogsPushResponse(accepted=len(found.lines)).model_dump())
