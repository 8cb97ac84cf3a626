"""Signing in with a passkey, and the passkeys of one's own account."""

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from toban.access.assembly import Access
from toban.access.passkeys import RelyingParty, is_installed
from toban.access.permissions import Permission
from toban.core.errors import NotFoundError, TobanError
from toban.web.endpoint import FORM, Endpoint, actor, principal
from toban.web.pages.forms import LARGEST_FORM, read_fields
from toban.web.pages.preferences import START_PAGE, local_path
from toban.web.pages.relying_party import relying_party
from toban.web.pages.sign_in import SignInPages, client_of, with_session
from toban.web.problem_details import problem

NOT_HERE = "passkeys take the extra `passkeys`, and an address with https (`notify.address`) or localhost"
CONFIRM = "Give your password again at /sign-in?again: adding a passkey needs one of the last 15 minutes."


class PasskeyPages:
    """Gives browsers the options by which they make and use passkeys, and takes what they return."""

    def __init__(self, access: Access, pages: SignInPages, address: str) -> None:
        """``pages`` show what is wrong; ``address`` is the URL at which people reach toban."""
        self._access = access
        self._pages = pages
        self._address = address

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        public, read = Permission.PUBLIC, Permission.READ
        forms = (
            ("/sign-in/passkey", self.sign_in, public),
            ("/account/passkeys/add", self.add, read),
            ("/account/passkeys/remove", self.remove, read),
        )
        return [
            Endpoint("/sign-in/passkey", self.request_options, public),
            Endpoint("/account/passkeys", self.creation_options, read),
            *(
                Endpoint(path, act, permission, methods=["POST"], takes=FORM, largest=LARGEST_FORM)
                for path, act, permission in forms
            ),
        ]

    def _party(self, request: Request) -> RelyingParty | None:
        return relying_party(request, self._address) if is_installed() else None

    async def request_options(self, request: Request) -> Response:
        """Return the options for signing in."""
        if not (party := self._party(request)):
            return problem(404, NOT_HERE)
        return Response(await self._access.passkeys.request_options(party), media_type="application/json")

    async def sign_in(self, request: Request) -> Response:
        """Sign in with a passkey, and go on to the page that led here."""
        fields, before, party = await read_fields(request), principal(request).session, self._party(request)
        if not party:
            return self._pages.sign_in_page(request, {}, NotFoundError(NOT_HERE))
        try:
            secret = await self._access.passkeys.sign_in(
                fields.get("response", ""), party, client_of(request), before.id if before else ""
            )
        except TobanError as error:
            return self._pages.sign_in_page(request, {}, error)
        target = request.query_params.get("next", START_PAGE)
        return with_session(request, secret, RedirectResponse(local_path(target), 303))

    async def creation_options(self, request: Request) -> Response:
        """Return the options for a new passkey of one's own."""
        party, session = self._party(request), principal(request).session
        if not party or not session:
            return problem(404, NOT_HERE)
        if not self._access.service.is_confirmed(session):
            return problem(403, CONFIRM)
        return Response(await self._access.passkeys.creation_options(session, party), media_type="application/json")

    async def add(self, request: Request) -> Response:
        """Add a passkey to one's own account."""
        fields, session, party = await read_fields(request), principal(request).session, self._party(request)
        if not session or not party:
            return self._pages.account_page(request, NotFoundError(NOT_HERE))
        if not self._access.service.is_confirmed(session):
            return RedirectResponse("/sign-in?again&next=/account", 303)
        try:
            await self._access.passkeys.add(
                session, fields.get("name", ""), fields.get("response", ""), party, actor(request)
            )
        except TobanError as error:
            return self._pages.account_page(request, error)
        return RedirectResponse("/account?done=passkey", 303)

    async def remove(self, request: Request) -> Response:
        """Remove a passkey of one's own account."""
        fields, client = await read_fields(request), principal(request)
        if not client.user:
            return self._pages.account_page(request)
        try:
            await self._access.passkeys.remove(fields.get("id", ""), client.actor, client.user.id)
        except TobanError as error:
            return self._pages.account_page(request, error)
        return RedirectResponse("/account?done=passkey-removed", 303)
