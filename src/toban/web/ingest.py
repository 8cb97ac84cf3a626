"""The doors for what is pushed: OpenTelemetry at `/v1/…`, business events, and numbers by remote write."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from toban.core.errors import StateError, StoreError
from toban.ingest.business_events import BusinessEventReceiver, EventsError
from toban.ingest.otlp_model import OtlpSignal
from toban.ingest.otlp_receiver import OtlpReceiver
from toban.ingest.otlp_response import INVALID, Encoding, OtlpResponse, error_response
from toban.ingest.remote_write_receiver import RemoteWriteReceiver, SamplesRejectedError
from toban.remote.remote_write_model import RemoteWriteDecodeError
from toban.web.endpoint import Endpoint, Permission
from toban.web.json_response import JsonResponse
from toban.web.request_bodies import AGAIN, BodyError, read_body, read_compressed

EVENTS: Final = frozenset({"application/json", "application/x-ndjson", "application/jsonl", "application/x-jsonlines"})


REMOTE_WRITE: Final = frozenset({"application/x-protobuf"})


class IngestApi:
    """Reads bodies and hands them on."""

    def __init__(
        self, taking: OtlpReceiver, events: BusinessEventReceiver, written: RemoteWriteReceiver, limit: int
    ) -> None:
        self._taking = taking
        self._events = events
        self._written = written
        self._limit = limit

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        otlp = frozenset(encoding.value for encoding in Encoding)
        push = partial(Endpoint, permission=Permission.PUSH, methods=["POST"], largest=self._limit)
        return [
            *(push(f"/v1/{it.value}", self._door(it), takes=otlp, refuse=_refused_otlp) for it in OtlpSignal),
            push("/api/events", self.events, takes=EVENTS),
            push("/api/v1/write", self.write, takes=REMOTE_WRITE, refuse=_refused_write),
        ]

    def _door(self, signal: OtlpSignal) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            told = await self._pushed(signal, request)
            return Response(told.body, told.status, {**told.headers, "content-type": told.type})

        return answer

    async def _pushed(self, signal: OtlpSignal, request: Request) -> OtlpResponse:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if not kind:
            raise BodyError(415, f"say in Content-Type what it is: {' or '.join(Encoding)}")
        encoding = Encoding(kind)
        try:
            body = await read_body(request)
        except BodyError as error:
            if error.status == 503:
                return self._taking.overloaded(signal, encoding, str(error), error.headers)
            return error_response(error.status, encoding, INVALID, str(error))
        return await self._taking.accept(signal, encoding, body)

    async def events(self, request: Request) -> Response:
        """Take in business events: one object, an array, or a line each."""
        try:
            accepted, repeated = await self._events.accept(
                await read_body(request), request.headers.get("idempotency-key", "")
            )
        except EventsError as error:
            mistakes = [{"line": it.line, "field": it.field, "message": it.message} for it in error.mistakes]
            return JsonResponse({"error": str(error), "errors": mistakes}, 422)
        except StateError as error:
            return JsonResponse({"error": f"not kept: {error}"}, 503, {"retry-after": str(AGAIN)})
        return JsonResponse({"accepted": accepted, "repeated": repeated})

    async def write(self, request: Request) -> Response:
        """Take in numbers by remote write 1.0: https://prometheus.io/docs/specs/prw/remote_write_spec/."""
        if "proto=" in request.headers.get("content-type", "proto="):
            raise BodyError(415, "Content-Type must be application/x-protobuf: remote write 1.0")
        if request.headers.get("content-encoding", "").strip().lower() != "snappy":
            raise BodyError(415, "Content-Encoding must be snappy")
        try:
            await self._written.accept(await read_compressed(request), self._limit)
        except (RemoteWriteDecodeError, SamplesRejectedError) as error:
            return PlainTextResponse(f"{error}\n", 400)
        except StoreError as error:
            return PlainTextResponse(f"not kept: {error}\n", 503, {"retry-after": str(AGAIN)})
        return Response(status_code=204)


def _refused_otlp(status: int, message: str) -> Response:
    told = error_response(status, Encoding.JSON, INVALID, message)
    return Response(told.body, status, media_type=told.type)


def _refused_write(status: int, message: str) -> Response:
    return PlainTextResponse(f"{message}\n", status)
