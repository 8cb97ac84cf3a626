"""Requests and responses about users, sessions and API tokens."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import StringConstraints

from toban.access.accounts import ApiToken, Passkey, Session, User
from toban.access.permissions import PUBLIC, Permission, Role
from toban.core.config_types import Duration
from toban.web.api.api_endpoint import RequestModel, ResponseModel
from toban.web.api.models import Name

Password = Annotated[str, StringConstraints(max_length=1000)]


class UserModel(ResponseModel):
    """A user."""

    name: str
    role: Role
    enabled: bool
    has_password: bool
    """Whether a password was chosen: without one, only a one-time link lets the user in."""
    created: datetime
    last_sign_in: datetime | None
    sessions: int

    @classmethod
    def of(cls, user: User, sessions: int) -> Self:
        """Return the model of a user."""
        return cls(
            name=user.name,
            role=user.role,
            enabled=user.enabled,
            has_password=bool(user.password),
            created=user.created,
            last_sign_in=user.last_sign_in,
            sessions=sessions,
        )


class UsersResponse(ResponseModel):
    """All users."""

    users: list[UserModel]


class AddUserRequest(RequestModel):
    """A new user."""

    name: Name
    role: Role
    password: Password | None = None
    """Without one, the response has a one-time link by which the user chooses one."""


class UserRequest(RequestModel):
    """Which user."""

    name: Name


class SetRoleRequest(RequestModel):
    """Another role of a user."""

    name: Name
    role: Role


class SetPasswordRequest(RequestModel):
    """Another password of a user."""

    name: Name
    password: Password


class UserResponse(ResponseModel):
    """The user as it is now."""

    user: UserModel
    link: str | None = None
    """A one-time link, which sets the password once within 15 minutes; it is never shown again."""


class TokenModel(ResponseModel):
    """An API token, without its secret."""

    id: str
    name: str
    scopes: list[Permission]
    created: datetime
    created_by: str
    expires: datetime | None
    last_used: datetime | None
    """To the minute."""

    @classmethod
    def of(cls, token: ApiToken) -> Self:
        """Return the model of an API token."""
        return cls(
            id=token.id,
            name=token.name,
            scopes=sorted(token.scopes - PUBLIC),
            created=token.created,
            created_by=token.created_by,
            expires=token.expires,
            last_used=token.last_used,
        )


class TokensResponse(ResponseModel):
    """All API tokens."""

    tokens: list[TokenModel]


class CreateTokenRequest(RequestModel):
    """A new API token."""

    name: Name
    """The program that uses it."""
    scopes: list[Permission]
    expires: Duration | None = None
    """After what time it expires; without one it does not."""


class CreateTokenResponse(ResponseModel):
    """The new API token."""

    token: TokenModel
    secret: str
    """What the program sends as `Authorization: Bearer …`; it is never shown again."""


class RevokeTokenRequest(RequestModel):
    """Which API token."""

    id: Name


class RevokeTokenResponse(ResponseModel):
    """The API token that is revoked."""

    id: str


class SessionModel(ResponseModel):
    """A session."""

    id: str
    user: str
    address: str
    agent: str
    """The User-Agent of the browser."""
    created: datetime
    last_used: datetime
    """To the minute."""

    @classmethod
    def of(cls, session: Session, user: str) -> Self:
        """Return the model of a session."""
        return cls(
            id=session.short_id,
            user=user,
            address=session.address,
            agent=session.agent,
            created=session.created,
            last_used=session.last_used,
        )


class SessionsResponse(ResponseModel):
    """All sessions, the one used last first."""

    sessions: list[SessionModel]


class EndSessionRequest(RequestModel):
    """Which session."""

    id: Name


class EndSessionsResponse(ResponseModel):
    """What is left."""

    sessions: int
    """How many sessions there are still, of all users."""


class PasskeyModel(ResponseModel):
    """A passkey."""

    id: str
    user: str
    name: str
    created: datetime
    last_used: datetime | None

    @classmethod
    def of(cls, passkey: Passkey, user: str) -> Self:
        """Return the model of a passkey."""
        return cls(
            id=passkey.short_id,
            user=user,
            name=passkey.name,
            created=passkey.created,
            last_used=passkey.last_used,
        )


class PasskeysResponse(ResponseModel):
    """All passkeys."""

    passkeys: list[PasskeyModel]


class RemovePasskeyRequest(RequestModel):
    """Which passkey."""

    id: Name
