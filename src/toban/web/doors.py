"""The doors for what is pushed: OpenTelemetry at `/v1/…`, business events, and numbers by remote write."""

from collections.abc import Awaitable, Callable
from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from toban.core.errors import StateError, StoreError
from toban.intake.answers import INVALID, Answer, Encoding, refused
from toban.intake.events import Events, EventsError
from toban.intake.nouns import Signal
from toban.intake.taking import AGAIN, FullError, Taking
from toban.intake.written import RefusedError, Written
from toban.remote.wire import WireError
from toban.web.bodies import BodyError, body_of, packed
from toban.web.json import Json

EVENTS: Final = frozenset({"application/json", "application/x-ndjson", "application/jsonl", "application/x-jsonlines"})


class Doors:
    """Reads bodies and hands them on."""

    def __init__(self, taking: Taking, events: Events, written: Written, limit: int) -> None:
        self._taking = taking
        self._events = events
        self._written = written
        self._limit = limit

    def routes(self) -> list[Route]:
        """Return the routes."""
        doors = [Route(f"/v1/{signal.value}", self._door(signal), methods=["POST"]) for signal in Signal]
        return [
            *doors,
            Route("/api/events", self.events, methods=["POST"]),
            Route("/api/v1/write", self.write, methods=["POST"]),
        ]

    def _door(self, signal: Signal) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            told = await self._pushed(signal, request)
            return Response(told.body, told.status, {**told.headers, "content-type": told.type})

        return answer

    async def _pushed(self, signal: Signal, request: Request) -> Answer:
        try:
            encoding = Encoding(_type(request))
        except ValueError:
            message = f"Content-Type must be {' or '.join(Encoding)}"
            return refused(415, Encoding.JSON, INVALID, message)
        with self._taking.room() as take:
            try:
                body = await body_of(request, self._limit, take)
            except BodyError as error:
                return refused(error.status, encoding, INVALID, str(error))
            except FullError:
                return self._taking.full(signal, encoding)
            return await self._taking.accept(signal, encoding, body)

    async def events(self, request: Request) -> Response:
        """Take in business events: one object, an array, or a line each."""
        if _type(request) not in EVENTS:
            return Json({"error": f"Content-Type must be {' or '.join(sorted(EVENTS))}"}, 415)
        try:
            with self._taking.room() as take:
                body = await body_of(request, self._limit, take)
                accepted, repeated = await self._events.accept(body, request.headers.get("idempotency-key", ""))
        except BodyError as error:
            return Json({"error": str(error)}, error.status)
        except EventsError as error:
            mistakes = [{"line": it.line, "field": it.field, "message": it.message} for it in error.mistakes]
            return Json({"error": str(error), "errors": mistakes}, 422)
        except (StateError, FullError) as error:
            return Json({"error": f"not kept: {error}"}, 503, {"retry-after": str(AGAIN)})
        return Json({"accepted": accepted, "repeated": repeated})

    async def write(self, request: Request) -> Response:
        """Take in numbers by remote write 1.0: https://prometheus.io/docs/specs/prw/remote_write_spec/."""
        if _type(request) != "application/x-protobuf" or "proto=" in request.headers["content-type"]:
            return PlainTextResponse("Content-Type must be application/x-protobuf: remote write 1.0\n", 415)
        if request.headers.get("content-encoding", "").strip().lower() != "snappy":
            return PlainTextResponse("Content-Encoding must be snappy\n", 415)
        try:
            with self._taking.room() as take:
                await self._written.accept(await packed(request, self._limit, take), self._limit)
        except BodyError as error:
            return PlainTextResponse(f"{error}\n", error.status)
        except (WireError, RefusedError) as error:
            return PlainTextResponse(f"{error}\n", 400)
        except (StoreError, FullError) as error:
            return PlainTextResponse(f"not kept: {error}\n", 503, {"retry-after": str(AGAIN)})
        return Response(status_code=204)


def _type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
