"""The page for admins: users and API tokens."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from toban.access.assembly import Access
from toban.access.permissions import PUBLIC, Permission, Role
from toban.core.actor import Actor
from toban.core.config_types import parse_duration
from toban.core.errors import InvalidCommandError, TobanError
from toban.core.ports import Clock
from toban.web.endpoint import FORM, Endpoint, actor
from toban.web.pages.forms import LARGEST_FORM, read_fields
from toban.web.pages.rendering import page
from toban.web.pages.sign_in import field_of, status_of, words_for

PATH: Final = "/users"
SCOPES: Final = [it for it in Permission if it not in PUBLIC]
LIFETIMES: Final = (90, 30, 365, 0)
"""For how many days an API token may be valid; 0 for ever."""

Fields = Mapping[str, str]


class UsersPages:
    """Shows users and API tokens, and forwards commands on them."""

    def __init__(self, access: Access, address: str, clock: Clock) -> None:
        """``address`` is the URL at which people reach toban; empty where that is how they reach this page."""
        self._access = access
        self._address = address.rstrip("/")
        self._clock = clock

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        users = self._access.users
        acts = [
            self._act("disable", lambda fields, by: users.disable(fields.get("name", ""), by)),
            self._act("enable", lambda fields, by: users.enable(fields.get("name", ""), by)),
            self._act("role", lambda fields, by: users.set_role(fields.get("name", ""), _role(fields), by)),
            self._act(
                "end-sessions", lambda fields, by: self._access.sign_in.end_sessions_of(fields.get("name", ""), by)
            ),
            self._act("tokens/revoke", lambda fields, by: self._access.tokens.revoke(fields.get("id", ""), by)),
            self._form("add", self.add),
            self._form("link", self.link),
            self._form("tokens/create", self.create_token),
        ]
        return [Endpoint(PATH, self.show, Permission.ADMIN), *acts]

    async def show(self, request: Request) -> Response:
        """Show all users and API tokens."""
        return self._page(request)

    async def add(self, request: Request) -> Response:
        """Add a user, and show a one-time link by which the user chooses a password."""
        fields = await read_fields(request)
        try:
            user = await self._access.users.add_user(fields.get("name", ""), _role(fields), None, actor(request))
            return await self._link_page(request, user.name)
        except TobanError as error:
            return self._page(request, error, "user", fields)

    async def link(self, request: Request) -> Response:
        """Show a new one-time link of a user."""
        fields = await read_fields(request)
        try:
            return await self._link_page(request, fields.get("name", ""))
        except TobanError as error:
            return self._page(request, error)

    async def create_token(self, request: Request) -> Response:
        """Create an API token, and show it."""
        fields = await read_fields(request)
        scopes = [it for it in SCOPES if fields.get(f"scope-{it}")]
        try:
            token, text = await self._access.tokens.create(
                fields.get("name", ""), scopes, _lifetime(fields), actor(request)
            )
        except TobanError as error:
            return self._page(request, error, "token", fields)
        return self._page(request, token=text, shown_for=token.name)

    async def _link_page(self, request: Request, name: str) -> Response:
        # Shown in the response to the form: in the address of a redirect the secret would stay in the history.
        secret = await self._access.users.link(name, actor(request))
        base = self._address or str(request.base_url).rstrip("/")
        return self._page(request, one_time_link=f"{base}/welcome/{secret}", shown_for=name)

    def _page(
        self,
        request: Request,
        error: TobanError | None = None,
        form: str = "",
        fields: Fields | None = None,
        **shown: str,
    ) -> Response:
        accounts, (status, headers) = self._access.service.accounts, status_of(error)
        once: dict[str, Any] = {"one_time_link": "", "token": "", "shown_for": "", **shown}
        response = page(
            request,
            "users.html",
            status,
            users=sorted(accounts.users.values(), key=lambda it: it.name),
            sessions={it: len(accounts.sessions_of(it)) for it in accounts.users},
            tokens=sorted(accounts.tokens.values(), key=lambda it: it.name),
            roles=list(Role),
            scopes=SCOPES,
            lifetimes=LIFETIMES,
            now=self._clock.now(),
            fields=fields or {},
            form=form,
            field=field_of(error),
            error=words_for(request, error),
            done="done" in request.query_params,
            **once,
        )
        response.headers.update(headers)
        return response

    def _act(self, name: str, work: Callable[[Fields, Actor], Awaitable[None]]) -> Endpoint:
        """Return the route of a form that executes a command and leads back to the page."""

        async def respond(request: Request) -> Response:
            try:
                await work(await read_fields(request), actor(request))
            except TobanError as error:
                return self._page(request, error)
            return RedirectResponse(f"{PATH}?done", 303)

        return self._form(name, respond)

    @staticmethod
    def _form(name: str, respond: Callable[[Request], Awaitable[Response]]) -> Endpoint:
        return Endpoint(f"{PATH}/{name}", respond, Permission.ADMIN, methods=["POST"], takes=FORM, largest=LARGEST_FORM)


def _role(fields: Fields) -> Role:
    """Raise ``InvalidCommandError`` for a role that does not exist."""
    try:
        return Role(fields.get("role", ""))
    except ValueError:
        raise InvalidCommandError(f"is none of {', '.join(Role)}", "role") from None


def _lifetime(fields: Fields) -> timedelta | None:
    """Raise ``InvalidCommandError`` for an invalid duration."""
    text = fields.get("expires", "")
    try:
        return parse_duration(text) if text else None
    except ValueError as error:
        raise InvalidCommandError(str(error), "expires") from error
