"""Routes that say who may ask, and what they take."""

from collections.abc import Awaitable, Callable, Collection
from enum import StrEnum
from typing import Final

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from toban.web.json_response import JsonResponse
from toban.web.request_bodies import BodyError

SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""The methods that change nothing."""

JSON: Final = frozenset({"application/json"})
FORM: Final = frozenset({"application/x-www-form-urlencoded"})
NOTHING: Final = frozenset[str]()

LARGEST: Final = 2**20
"""Bytes that a body may have, unless its route says otherwise."""


class Permission(StrEnum):
    """What a route asks of whoever uses it; who has which is said by `access.py`."""

    PUBLIC = "public"
    """Nothing: anybody may, and learns names and states but no details."""
    READ = "read"
    """Seeing samples, alerts, log lines, settings."""
    PUSH = "push"
    """Sending telemetry, events, samples, and alerts that others evaluated."""
    ACT = "act"
    """Changing something: silences, acknowledgements, test notifications, drills."""


def permissions(connection: HTTPConnection) -> frozenset[Permission]:
    """Return what whoever asks may do; nothing but what is public, where nobody has looked."""
    found: frozenset[Permission] = connection.scope.get("state", {}).get("permissions", frozenset({Permission.PUBLIC}))
    return found


def is_trusted(connection: HTTPConnection) -> bool:
    """Tell whether who asks may see details."""
    return Permission.READ in permissions(connection)


def refuse_with_json(status: int, message: str) -> Response:
    """Return a refusal as toban's own API says it."""
    return JsonResponse({"error": message}, status)


def unauthorized() -> Response:
    """Return the answer to whoever may not."""
    return PlainTextResponse(
        "Show the token of toban's web.token as `Authorization: Bearer ...`.\n",
        401,
        {"www-authenticate": 'Bearer realm="toban"'},
    )


class Endpoint(Route):
    """
    A route with its declaration: the permission it asks for, the types and the length of the bodies it takes.

    A body of another type is refused with 415, a longer one with 413; ``refuse`` says so in the words of the API that
    the route belongs to. A route that takes no type takes no body.
    """

    def __init__(
        self,
        path: str,
        endpoint: Callable[[Request], Awaitable[Response]],
        permission: Permission,
        *,
        methods: Collection[str] = ("GET",),
        takes: frozenset[str] = NOTHING,
        largest: int = LARGEST,
        refuse: Callable[[int, str], Response] = refuse_with_json,
    ) -> None:
        if "POST" in methods and not takes:
            raise TypeError(f"{path}: a route for POST says which types it takes")
        super().__init__(path, endpoint, methods=methods)
        self.permission = permission
        self.takes = takes
        self.largest = largest
        self._refuse = refuse

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or refuse who may not and what is not taken."""
        if self.permission not in permissions(HTTPConnection(scope)):
            await unauthorized()(scope, receive, send)
            return
        if self.methods and scope["method"] not in self.methods:
            await super().handle(scope, receive, send)  # which is 405
            return
        try:
            if scope["method"] not in SAFE:
                self._check_type(Headers(scope=scope))
            with scope["state"]["room"].body(receive, scope, self.largest) as body:
                await super().handle(scope, body, send)
        except BodyError as error:
            refusal = self._refuse(error.status, str(error))
            refusal.headers.update(error.headers)
            await refusal(scope, receive, send)
        except ClientDisconnect:
            return  # nobody is there to hear an answer

    def _check_type(self, headers: Headers) -> None:
        """Raise ``BodyError`` for a body of a type that is not taken."""
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        is_empty = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers
        if kind not in self.takes and (kind or not is_empty):
            wanted = f"send {' or '.join(sorted(self.takes))}" if self.takes else "send no body"
            raise BodyError(415, f"Content-Type {kind[:100]!r} is not taken here: {wanted}")
