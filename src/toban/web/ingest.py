"""Ingest endpoints: OTLP at `/v1/…`, business events, and remote write."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from pydantic import RootModel
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from toban.access.permissions import Permission
from toban.core.errors import StateError, StoreError
from toban.ingest.business_events import BusinessEventReceiver, Event, EventsError
from toban.ingest.otlp_model import OtlpSignal
from toban.ingest.otlp_receiver import OtlpReceiver
from toban.ingest.otlp_response import INVALID, Encoding, OtlpResponse, error_response
from toban.ingest.remote_write_receiver import RemoteWriteReceiver, SamplesRejectedError
from toban.remote.remote_write_model import RemoteWriteDecodeError
from toban.web.api.models import EventsResponse
from toban.web.endpoint import Endpoint, Operation
from toban.web.json_response import JsonResponse
from toban.web.problem_details import FieldError, problem
from toban.web.request_bodies import RETRY_AFTER, BodyError, read_body, read_compressed

EVENTS: Final = frozenset({"application/json", "application/x-ndjson", "application/jsonl", "application/x-jsonlines"})

REMOTE_WRITE: Final = frozenset({"application/x-protobuf"})


class EventsRequest(RootModel[Event | list[Event]]):
    """One business event, or an array of them; as JSON Lines, one on each line."""


class IngestApi:
    """Reads bodies and passes them to their receivers."""

    def __init__(
        self, otlp: OtlpReceiver, events: BusinessEventReceiver, remote_write: RemoteWriteReceiver, limit: int
    ) -> None:
        self._otlp = otlp
        self._events = events
        self._remote_write = remote_write
        self._limit = limit

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        types = frozenset(encoding.value for encoding in Encoding)
        push = partial(Endpoint, permission=Permission.PUSH, methods=["POST"], largest=self._limit)
        return [
            *(push(f"/v1/{it.value}", self._otlp_endpoint(it), takes=types, refuse=_otlp_error) for it in OtlpSignal),
            push(
                "/api/events",
                self.events,
                takes=EVENTS,
                operation=Operation.of(self.events, EventsRequest, EventsResponse),
            ),
            push("/api/v1/write", self.write, takes=REMOTE_WRITE, refuse=_remote_write_error),
        ]

    def _otlp_endpoint(self, signal: OtlpSignal) -> Callable[[Request], Awaitable[Response]]:
        async def respond(request: Request) -> Response:
            response = await self._push(signal, request)
            return Response(response.body, response.status, {**response.headers, "content-type": response.type})

        return respond

    async def _push(self, signal: OtlpSignal, request: Request) -> OtlpResponse:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if not kind:
            raise BodyError(415, f"Content-Type is missing: {' or '.join(Encoding)}")
        encoding = Encoding(kind)
        try:
            body = await read_body(request)
        except BodyError as error:
            if error.status == 503:
                return self._otlp.overloaded(signal, encoding, str(error), error.headers)
            return error_response(error.status, encoding, INVALID, str(error))
        return await self._otlp.accept(signal, encoding, body)

    async def events(self, request: Request) -> Response:
        """Count business events: one object, an array, or JSON Lines."""
        try:
            accepted, repeated = await self._events.accept(
                await read_body(request), request.headers.get("idempotency-key", "")
            )
        except EventsError as error:
            errors = [FieldError(line=it.line, field=it.field, message=it.message) for it in error.errors]
            return problem(422, str(error), errors)
        except StateError as error:
            return problem(503, f"not stored: {error}", headers={"retry-after": str(RETRY_AFTER)})
        return JsonResponse(EventsResponse(accepted=accepted, repeated=repeated).model_dump())

    async def write(self, request: Request) -> Response:
        """Append samples of remote write 1.0: https://prometheus.io/docs/specs/prw/remote_write_spec/."""
        if "proto=" in request.headers.get("content-type", "proto="):
            raise BodyError(415, "Content-Type must be application/x-protobuf: remote write 1.0")
        if request.headers.get("content-encoding", "").strip().lower() != "snappy":
            raise BodyError(415, "Content-Encoding must be snappy")
        try:
            await self._remote_write.accept(await read_compressed(request), self._limit)
        except (RemoteWriteDecodeError, SamplesRejectedError) as error:
            return PlainTextResponse(f"{error}\n", 400)
        except StoreError as error:
            return PlainTextResponse(f"not stored: {error}\n", 503, {"retry-after": str(RETRY_AFTER)})
        return Response(status_code=204)


def _otlp_error(status: int, message: str) -> Response:
    response = error_response(status, Encoding.JSON, INVALID, message)
    return Response(response.body, status, media_type=response.type)


def _remote_write_error(status: int, message: str) -> Response:
    return PlainTextResponse(f"{message}\n", status)
