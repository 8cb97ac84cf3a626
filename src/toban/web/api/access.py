"""Users, sessions and API tokens in toban's own API."""

from toban.access.accounts import User
from toban.access.assembly import Access
from toban.access.permissions import Permission
from toban.core.actor import Actor
from toban.web.api.access_models import (
    AddUserRequest,
    CreateTokenRequest,
    CreateTokenResponse,
    EndSessionRequest,
    EndSessionsResponse,
    PasskeyModel,
    PasskeysResponse,
    RemovePasskeyRequest,
    RevokeTokenRequest,
    RevokeTokenResponse,
    SessionModel,
    SessionsResponse,
    SetPasswordRequest,
    SetRoleRequest,
    TokenModel,
    TokensResponse,
    UserModel,
    UserRequest,
    UserResponse,
    UsersResponse,
)
from toban.web.api.api_endpoint import ApiEndpoint, NoParameters
from toban.web.endpoint import Endpoint


class AccessApi:
    """Shows users, sessions and API tokens, and forwards commands on them."""

    def __init__(self, access: Access, address: str) -> None:
        """``address`` is the URL at which people reach toban."""
        self._access = access
        self._address = address.rstrip("/")

    def routes(self) -> list[Endpoint]:
        """Return the routes."""
        users, tokens, sessions, admin = "/api/users", "/api/tokens", "/api/sessions", Permission.ADMIN
        ended, keys, passkeys = EndSessionsResponse, "/api/passkeys", PasskeysResponse
        return [
            ApiEndpoint(users, self.list_users, admin, NoParameters, UsersResponse),
            ApiEndpoint(users, self.add_user, admin, AddUserRequest, UserResponse, method="POST"),
            ApiEndpoint(f"{users}/disable", self.disable, admin, UserRequest, UserResponse, method="POST"),
            ApiEndpoint(f"{users}/enable", self.enable, admin, UserRequest, UserResponse, method="POST"),
            ApiEndpoint(f"{users}/role", self.set_role, admin, SetRoleRequest, UserResponse, method="POST"),
            ApiEndpoint(f"{users}/password", self.set_password, admin, SetPasswordRequest, UserResponse, method="POST"),
            ApiEndpoint(f"{users}/link", self.link, admin, UserRequest, UserResponse, method="POST"),
            ApiEndpoint(tokens, self.list_tokens, admin, NoParameters, TokensResponse),
            ApiEndpoint(tokens, self.create_token, admin, CreateTokenRequest, CreateTokenResponse, method="POST"),
            ApiEndpoint(
                f"{tokens}/revoke", self.revoke_token, admin, RevokeTokenRequest, RevokeTokenResponse, method="POST"
            ),
            ApiEndpoint(sessions, self.list_sessions, admin, NoParameters, SessionsResponse),
            ApiEndpoint(f"{sessions}/end", self.end_session, admin, EndSessionRequest, ended, method="POST"),
            ApiEndpoint(f"{sessions}/end-all", self.end_sessions, admin, UserRequest, ended, method="POST"),
            ApiEndpoint(keys, self.list_passkeys, admin, NoParameters, passkeys),
            ApiEndpoint(f"{keys}/remove", self.remove_passkey, admin, RemovePasskeyRequest, passkeys, method="POST"),
        ]

    async def list_users(self, _: NoParameters, actor: Actor) -> UsersResponse:
        """Return all users."""
        users = sorted(self._access.service.accounts.users.values(), key=lambda it: it.name)
        return UsersResponse(users=[self._model(it) for it in users])

    async def add_user(self, request: AddUserRequest, actor: Actor) -> UserResponse:
        """Add a user."""
        user = await self._access.users.add_user(request.name, request.role, request.password, actor)
        link = None if request.password is not None else await self._link(user.name, actor)
        return self._response(user.name, link)

    async def disable(self, request: UserRequest, actor: Actor) -> UserResponse:
        """Disable a user, whose sessions end."""
        await self._access.users.disable(request.name, actor)
        return self._response(request.name)

    async def enable(self, request: UserRequest, actor: Actor) -> UserResponse:
        """Enable a user."""
        await self._access.users.enable(request.name, actor)
        return self._response(request.name)

    async def set_role(self, request: SetRoleRequest, actor: Actor) -> UserResponse:
        """Give a user another role; the user signs in anew."""
        await self._access.users.set_role(request.name, request.role, actor)
        return self._response(request.name)

    async def set_password(self, request: SetPasswordRequest, actor: Actor) -> UserResponse:
        """Set the password of a user, whose sessions end."""
        await self._access.users.set_password(request.name, request.password, actor)
        return self._response(request.name)

    async def link(self, request: UserRequest, actor: Actor) -> UserResponse:
        """Create a one-time link by which a user chooses a password."""
        return self._response(request.name, await self._link(request.name, actor))

    async def list_tokens(self, _: NoParameters, actor: Actor) -> TokensResponse:
        """Return all API tokens."""
        tokens = sorted(self._access.service.accounts.tokens.values(), key=lambda it: it.name)
        return TokensResponse(tokens=[TokenModel.of(it) for it in tokens])

    async def create_token(self, request: CreateTokenRequest, actor: Actor) -> CreateTokenResponse:
        """Create an API token."""
        token, secret = await self._access.tokens.create(request.name, request.scopes, request.expires, actor)
        return CreateTokenResponse(token=TokenModel.of(token), secret=secret)

    async def revoke_token(self, request: RevokeTokenRequest, actor: Actor) -> RevokeTokenResponse:
        """Revoke an API token."""
        await self._access.tokens.revoke(request.id, actor)
        return RevokeTokenResponse(id=request.id)

    async def list_sessions(self, _: NoParameters, actor: Actor) -> SessionsResponse:
        """Return all sessions."""
        accounts = self._access.service.accounts
        sessions = sorted(accounts.sessions.values(), key=lambda it: it.last_used, reverse=True)
        return SessionsResponse(sessions=[SessionModel.of(it, accounts.users[it.user].name) for it in sessions])

    async def end_session(self, request: EndSessionRequest, actor: Actor) -> EndSessionsResponse:
        """End a session."""
        await self._access.sign_in.end_session(request.id, actor)
        return self._sessions()

    async def end_sessions(self, request: UserRequest, actor: Actor) -> EndSessionsResponse:
        """End all sessions of a user."""
        await self._access.sign_in.end_sessions_of(request.name, actor)
        return self._sessions()

    async def list_passkeys(self, _: NoParameters, actor: Actor) -> PasskeysResponse:
        """Return all passkeys."""
        accounts = self._access.service.accounts
        found = sorted(accounts.passkeys.values(), key=lambda it: (accounts.users[it.user].name, it.created))
        return PasskeysResponse(passkeys=[PasskeyModel.of(it, accounts.users[it.user].name) for it in found])

    async def remove_passkey(self, request: RemovePasskeyRequest, actor: Actor) -> PasskeysResponse:
        """Remove a passkey; return what is left."""
        await self._access.passkeys.remove(request.id, actor)
        return await self.list_passkeys(NoParameters(), actor)

    def _sessions(self) -> EndSessionsResponse:
        return EndSessionsResponse(sessions=len(self._access.service.accounts.sessions))

    async def _link(self, name: str, actor: Actor) -> str:
        return f"{self._address}/welcome/{await self._access.users.link(name, actor)}"

    def _response(self, name: str, link: str | None = None) -> UserResponse:
        return UserResponse(user=self._model(self._access.users.get(name)), link=link)

    def _model(self, user: User) -> UserModel:
        return UserModel.of(user, len(self._access.service.accounts.sessions_of(user.id)))
