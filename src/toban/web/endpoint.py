"""Routes with their declarations: who may use them, and what they accept."""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from inspect import getdoc
from typing import Any, Final, Self
from urllib.parse import urlencode

from pydantic import BaseModel
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection, Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from toban.access.permissions import PUBLIC, Permission
from toban.access.principal import Principal
from toban.core.actor import Actor
from toban.web.problem_details import problem
from toban.web.request_bodies import BodyError

SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""The methods that change nothing."""

JSON: Final = frozenset({"application/json"})
FORM: Final = frozenset({"application/x-www-form-urlencoded"})
NOTHING: Final = frozenset[str]()

LARGEST: Final = 2**20
"""Bytes that a body may have, unless its route declares another limit."""

UNAUTHORIZED: Final = "Sign in at /sign-in, or send a token: `Authorization: Bearer ...`."
CONFIRM: Final = "Give your password again at /sign-in?again: this needs one that was given in the last 15 minutes."
CHALLENGE: Final = {"www-authenticate": 'Bearer realm="toban"'}


@dataclass(frozen=True, slots=True)
class Operation:
    """The documentation of a route of toban's own API, for the OpenAPI document."""

    summary: str
    description: str
    request_model: type[BaseModel]
    response_model: type[BaseModel]

    @classmethod
    def of(cls, function: Callable[..., Any], request_model: type[BaseModel], response_model: type[BaseModel]) -> Self:
        """Return the operation that a function executes, described by its docstring."""
        summary, _, description = (getdoc(function) or "").partition("\n")
        return cls(summary.removesuffix("."), description.strip(), request_model, response_model)


def principal(connection: HTTPConnection) -> Principal:
    """Return who sends a request, as authentication established it."""
    found: Principal = connection.scope["state"]["principal"]
    return found


def permissions(connection: HTTPConnection) -> frozenset[Permission]:
    """Return what the client may do; only what is public, where no authentication took place."""
    return principal(connection).permissions if "principal" in connection.scope.get("state", {}) else PUBLIC


def is_still_permitted(connection: HTTPConnection, permission: Permission) -> bool:
    """
    Tell whether a client may do something now: its session may have ended, its token may be revoked.

    For responses that last; they don't count as a use of the session.
    """
    current: Principal = connection.scope["state"]["authenticate"]()
    return permission in current.permissions


def actor(connection: HTTPConnection) -> Actor:
    """Return who sends a request, as authentication established it."""
    return principal(connection).actor


def is_trusted(connection: HTTPConnection) -> bool:
    """Tell whether the client may see details."""
    return Permission.READ in permissions(connection)


def unauthorized(*, is_own_api: bool = False) -> Response:
    """Return the response to a client that shows no valid credentials."""
    if is_own_api:
        return problem(401, UNAUTHORIZED, headers=CHALLENGE)
    return PlainTextResponse(f"{UNAUTHORIZED}\n", 401, CHALLENGE)


def is_navigation(connection: HTTPConnection) -> bool:
    """Tell whether a browser wants to show the response to a person."""
    path: str = connection.scope["path"]
    return "text/html" in connection.headers.get("accept", "") and not path.startswith("/api/")


def sign_in_page(connection: HTTPConnection, *, again: bool = False) -> Response:
    """Return what leads a browser to the page for signing in, and from there back; a form that was sent is lost."""
    if "hx-request" in connection.headers:
        # Part of an open page: the browser loads the whole of it again, and is led from there.
        return PlainTextResponse(f"{UNAUTHORIZED}\n", 401, {**CHALLENGE, "hx-refresh": "true"})
    url = connection.url
    back = {"next": f"{url.path}?{url.query}" if url.query else url.path}
    query = urlencode(back if connection.scope["method"] in SAFE else {})
    return RedirectResponse("/sign-in?" + "&".join(it for it in ("again" if again else "", query) if it), 303)


class Endpoint(Route):
    """
    A route with its declaration: the permission it requires, the types and the length of the bodies it accepts.

    A body of another type is refused with 415, a longer one with 413; ``refuse`` writes the error in the shape of the
    API that the route belongs to. A route that declares no type accepts no body. Routes of toban's own API declare
    their ``operation`` too.
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
        refuse: Callable[[int, str], Response] = problem,
        operation: Operation | None = None,
    ) -> None:
        if "POST" in methods and not takes:
            raise TypeError(f"{path}: a route for POST declares which types it accepts")
        super().__init__(path, endpoint, methods=methods)
        self.permission = permission
        self.takes = takes
        self.largest = largest
        self.operation = operation
        self._refuse = refuse

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Respond, or refuse a client without permission and a body that is not accepted."""
        connection = HTTPConnection(scope)
        if self.permission not in permissions(connection):
            await self._refusal(connection)(scope, receive, send)
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
            return  # there is no client to respond to

    def _refusal(self, connection: HTTPConnection) -> Response:
        """
        Return the response to a client without the permission.

        A person is led to the page for signing in. Raises ``HTTPException`` for one who is signed in.
        """
        client = principal(connection)
        must_confirm = client.must_confirm and self.permission is Permission.ADMIN
        if is_navigation(connection) and (must_confirm or not client.is_authenticated):
            return sign_in_page(connection, again=must_confirm)
        if not client.is_authenticated:
            return unauthorized(is_own_api=self.operation is not None)
        detail = CONFIRM if must_confirm else f"{client.actor} has no permission to {self.permission} here"
        raise HTTPException(403, detail)

    def _check_type(self, headers: Headers) -> None:
        """Raise ``BodyError`` for a body of a type that is not accepted."""
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        is_empty = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers
        if kind not in self.takes and (kind or not is_empty):
            wanted = f"send {' or '.join(sorted(self.takes))}" if self.takes else "send no body"
            raise BodyError(415, f"Content-Type {kind[:100]!r} is not accepted here: {wanted}")
