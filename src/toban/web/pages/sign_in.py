"""Pages for signing in and out, for one-time links, and for one's own account."""

from collections.abc import Mapping
from typing import Final

import structlog
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from toban.access.accounts import ABSOLUTE
from toban.access.assembly import Access
from toban.access.oidc import PENDING_SECONDS, OidcError, OidcProvider
from toban.access.passkeys import PasskeyError, is_installed
from toban.access.passwords import RETRY_AFTER, BusyError
from toban.access.permissions import Permission
from toban.access.sessions import Client
from toban.access.sign_in_commands import SignInError, ThrottledError, UnknownIdentityError
from toban.core.errors import InvalidCommandError, NotFoundError, StateError, TobanError
from toban.web.credentials import SECURE_COOKIE
from toban.web.endpoint import FORM, Endpoint, actor, principal
from toban.web.pages.forms import LARGEST_FORM, read_fields
from toban.web.pages.i18n import texts
from toban.web.pages.preferences import START_PAGE, local_path
from toban.web.pages.relying_party import relying_party
from toban.web.pages.rendering import language_of, page
from toban.web.pages.translations import translate

log = structlog.get_logger("toban.web")

CALLBACK: Final = "/sign-in/oidc/callback"
PENDING_COOKIE: Final = "_oidc"
"""How the name of the cookie of a pending sign-in ends."""


class SignInPages:
    """Signs users in and out, and shows them their account."""

    def __init__(self, access: Access, oidc: OidcProvider | None = None, address: str = "") -> None:
        """``oidc`` is another way to sign in; ``address`` is the URL at which people reach toban."""
        self._access = access
        self._oidc = oidc
        self._address = address.rstrip("/")

    def routes(self) -> list[Endpoint]:
        """Return the routes. What changes something changes the own session and account alone."""
        public, read = Permission.PUBLIC, Permission.READ
        forms = (
            ("/sign-in", self.sign_in, public),
            ("/sign-out", self.sign_out, public),
            ("/welcome/{secret}", self.redeem, public),
            ("/account/password", self.change_password, read),
            ("/account/sessions/end", self.end_session, read),
            ("/account/sessions/end-all", self.end_sessions, read),
        )
        return [
            Endpoint("/sign-in", self.show_sign_in, public),
            Endpoint("/sign-in/oidc", self.lead_to_provider, public),
            Endpoint(CALLBACK, self.return_from_provider, public),
            Endpoint("/welcome/{secret}", self.show_welcome, public),
            Endpoint("/account", self.show_account, read),
            *(
                Endpoint(path, act, permission, methods=["POST"], takes=FORM, largest=LARGEST_FORM)
                for path, act, permission in forms
            ),
        ]

    async def show_sign_in(self, request: Request) -> Response:
        """Show the form; who is signed in already goes on, unless the password is to be given again."""
        user, is_again = principal(request).user, "again" in request.query_params
        if user and not is_again:
            return RedirectResponse(local_path(request.query_params.get("next", START_PAGE)), 303)
        return self.sign_in_page(request, {"name": user.name if user else ""})

    async def sign_in(self, request: Request) -> Response:
        """Sign in, and go on to the page that led here."""
        fields, before = await read_fields(request), principal(request).session
        name, password = fields.get("name", ""), fields.get("password", "")
        try:
            secret = await self._access.sign_in.sign_in(name, password, client_of(request), before.id if before else "")
        except TobanError as error:
            return self.sign_in_page(request, {"name": name}, error)
        target = request.query_params.get("next", START_PAGE)
        return with_session(request, secret, RedirectResponse(local_path(target), 303))

    def sign_in_page(self, request: Request, fields: Mapping[str, str], error: TobanError | None = None) -> Response:
        """Return the page for signing in."""
        status, headers = status_of(error)
        response = page(
            request,
            "sign_in.html",
            status,
            fields=fields,
            error=words_for(request, error),
            is_again="again" in request.query_params,
            query=request.url.query if request.url.path in {"/sign-in", "/sign-in/passkey"} else "",
            has_passkeys=bool(relying_party(request, self._address)) and is_installed(),
            can_sign_in=self._access.service.can_sign_in or self._oidc,
            provider=self._oidc.settings.name if self._oidc else "",
        )
        response.headers.update(headers)
        return response

    async def lead_to_provider(self, request: Request) -> Response:
        """Lead to the OpenID Connect provider; a cookie remembers what must come back."""
        if not self._oidc:
            return self.sign_in_page(request, {}, NotFoundError("sign_in.oidc is not set"))
        target = local_path(request.query_params.get("next", START_PAGE))
        pending = self._access.pending.begin(target, again="again" in request.query_params)
        try:
            url = await self._oidc.authorization_url(pending, self._redirect_uri(request))
        except OidcError as error:
            return self.sign_in_page(request, {}, error)
        response = RedirectResponse(url, 303)
        _set_cookie(request, response, self._access.pending.seal(pending), PENDING_SECONDS, PENDING_COOKIE)
        return response

    async def return_from_provider(self, request: Request) -> Response:
        """Begin the session of whom the provider has identified. A GET begins it, as the protocol has it, and once."""
        if not self._oidc:
            return self.sign_in_page(request, {}, NotFoundError("sign_in.oidc is not set"))
        try:
            response = await self._identified(request, self._oidc)
        except TobanError as error:
            response = self.sign_in_page(request, {}, error)
        _forget_cookie(request, response, PENDING_COOKIE)
        return response

    async def _identified(self, request: Request, oidc: OidcProvider) -> Response:
        """Return the response to somebody whom the provider has identified. Raises ``TobanError``."""
        query, before = request.query_params, principal(request).session
        cookie = request.cookies.get(_cookie_name(request, PENDING_COOKIE), "")
        pending = self._access.pending.redeem(cookie, query.get("state", ""))
        if "error" in query or not query.get("code"):
            raise OidcError(f"the provider answered {query.get('error', 'without a code')[:100]!r}")
        uri = self._redirect_uri(request)
        identity = await oidc.identity(query["code"], query.get("iss", ""), pending, uri)
        secret = await self._access.sign_in.sign_in_identity(
            identity, oidc.settings, client_of(request), before.id if before else ""
        )
        return with_session(request, secret, RedirectResponse(pending.next, 303))

    def _redirect_uri(self, request: Request) -> str:
        return (self._address or str(request.base_url).rstrip("/")) + CALLBACK

    async def sign_out(self, request: Request) -> Response:
        """End the session of this browser."""
        if session := principal(request).session:
            try:
                await self._access.sign_in.sign_out(session, actor(request))
            except StateError as error:
                return self.sign_in_page(request, {}, error)
        response = RedirectResponse("/sign-in", 303)
        _forget_cookie(request, response)
        return response

    async def show_welcome(self, request: Request) -> Response:
        """Show the form of a one-time link. Looking at it does not use it up."""
        return self._welcome_page(request, {})

    async def redeem(self, request: Request) -> Response:
        """Choose a password by a one-time link, and begin a session."""
        fields = await read_fields(request)
        try:
            _check_repetition(fields)
            secret = await self._access.sign_in.redeem(
                request.path_params["secret"], fields.get("name", ""), fields.get("password", ""), client_of(request)
            )
        except TobanError as error:
            return self._welcome_page(request, fields, error)
        return with_session(request, secret, RedirectResponse(START_PAGE, 303))

    def _welcome_page(self, request: Request, fields: Mapping[str, str], error: TobanError | None = None) -> Response:
        try:
            name = self._access.sign_in.link_user(request.path_params["secret"])
        except NotFoundError:
            return page(request, "welcome.html", 404, is_valid=False)
        status, headers = status_of(error)
        response = page(
            request,
            "welcome.html",
            status,
            is_valid=True,
            name=name,
            fields=fields,
            error=words_for(request, error),
            field=field_of(error),
        )
        response.headers.update(headers)
        return response

    async def show_account(self, request: Request) -> Response:
        """Show the own account: the password, and the sessions."""
        return self.account_page(request)

    def account_page(self, request: Request, error: TobanError | None = None) -> Response:
        """Return the page of the own account."""
        client, (status, headers) = principal(request), status_of(error)
        service, user = self._access.service, client.user.id if client.user else 0
        response = page(
            request,
            "account.html",
            status,
            sessions=service.accounts.sessions_of(user),
            own=client.session,
            passkeys=service.accounts.passkeys_of(user),
            can_have_passkeys=bool(relying_party(request, self._address)),
            is_installed=is_installed(),
            is_confirmed=client.session is not None and service.is_confirmed(client.session),
            error=words_for(request, error),
            field=field_of(error) if error else "",
            done=request.query_params.get("done", ""),
        )
        response.headers.update(headers)
        return response

    async def change_password(self, request: Request) -> Response:
        """Change the own password; all other sessions end."""
        fields, session = await read_fields(request), principal(request).session
        if not session:
            return self.account_page(request)
        try:
            _check_repetition(fields)
            secret = await self._access.sign_in.change_own_password(
                session, fields.get("current", ""), fields.get("password", ""), client_of(request)
            )
        except TobanError as error:
            return self.account_page(request, error)
        return with_session(request, secret, RedirectResponse("/account?done=password", 303))

    async def end_session(self, request: Request) -> Response:
        """End one of the own sessions."""
        fields, client = await read_fields(request), principal(request)
        if not client.user:
            return self.account_page(request)
        try:
            await self._access.sign_in.end_session(fields.get("id", ""), client.actor, client.user.id)
        except TobanError as error:
            return self.account_page(request, error)
        return RedirectResponse("/account?done=session", 303)

    async def end_sessions(self, request: Request) -> Response:
        """End all of the own sessions, this one too."""
        client = principal(request)
        if not client.user:
            return self.account_page(request)
        try:
            await self._access.sign_in.end_sessions_of(client.user.name, client.actor)
        except TobanError as error:
            return self.account_page(request, error)
        response = RedirectResponse("/sign-in", 303)
        _forget_cookie(request, response)
        return response


def client_of(request: Request) -> Client:
    """Return from where somebody signs in."""
    return Client(actor(request).address, request.headers.get("user-agent", ""))


def with_session(request: Request, secret: str, response: Response) -> Response:
    """Give the browser the cookie of a session."""
    _set_cookie(request, response, secret, round(ABSOLUTE.total_seconds()))
    return response


def _cookie_name(request: Request, ending: str) -> str:
    return f"{request.scope['state']['cookie']}{ending}"


def _set_cookie(request: Request, response: Response, value: str, seconds: int, ending: str = "") -> None:
    name = _cookie_name(request, ending)
    is_secure = name.startswith(SECURE_COOKIE)
    response.set_cookie(name, value, max_age=seconds, path="/", secure=is_secure, httponly=True, samesite="lax")


def _forget_cookie(request: Request, response: Response, ending: str = "") -> None:
    name = _cookie_name(request, ending)
    is_secure = name.startswith(SECURE_COOKIE)
    response.delete_cookie(name, path="/", secure=is_secure, httponly=True, samesite="lax")


def _check_repetition(fields: Mapping[str, str]) -> None:
    """Raise ``InvalidCommandError`` when a new password was typed differently twice."""
    if fields.get("password", "") != fields.get("repeated", ""):
        raise InvalidCommandError("is not the same", "repeated")


def field_of(error: TobanError | None) -> str:
    """Return the field of a form beside which an error stands; empty for the form as a whole."""
    if isinstance(error, SignInError):
        return "current"
    return error.field if isinstance(error, InvalidCommandError) else ""


def status_of(error: TobanError | None) -> tuple[int, dict[str, str]]:
    """Return the status of the response to a form, and its headers."""
    if error is None:
        return 200, {}
    if isinstance(error, ThrottledError):
        return 429, {"retry-after": str(error.after)}
    if isinstance(error, BusyError | StateError | OidcError):
        return 503, {"retry-after": str(RETRY_AFTER)}
    return 404 if isinstance(error, NotFoundError) else 400, {}


def words_for(request: Request, error: TobanError | None) -> str:
    """Return an error in the reader's language, where there are words for it."""
    if error is None:
        return ""
    say = texts(language_of(request))
    if isinstance(error, OidcError | UnknownIdentityError):
        log.warning("sign-in failed", provider="OpenID Connect", error=str(error))
    if isinstance(error, ThrottledError):
        return say["sign-in-throttled"].format(seconds=error.after)
    field = error.field if isinstance(error, InvalidCommandError) else ""
    words = {"password": "password-rule", "repeated": "password-differs"}.get(field, "")
    if isinstance(error, SignInError):
        words = "sign-in-wrong"
    elif isinstance(error, PasskeyError):
        words = "passkey-refused"
    elif isinstance(error, BusyError):
        words = "sign-in-busy"
    elif isinstance(error, OidcError):
        words = "sign-in-provider-failed"
    elif isinstance(error, UnknownIdentityError):
        words = "sign-in-unknown"
    elif isinstance(error, StateError):
        words = "sign-in-no-state"
    if words:
        return say[words]
    return translate(error.reason if isinstance(error, InvalidCommandError) else str(error), language_of(request))
