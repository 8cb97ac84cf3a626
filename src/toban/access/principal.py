"""Who sends a request, and what this client may do."""

from dataclasses import dataclass

from toban.access.accounts import Session, User
from toban.access.permissions import Permission
from toban.core.actor import Actor


@dataclass(frozen=True, slots=True)
class Principal:
    """What authentication established about a request."""

    actor: Actor
    permissions: frozenset[Permission]
    user: User | None = None
    """Who is signed in; nobody where a token or nothing was shown."""
    session: Session | None = None
    is_authenticated: bool = True
    """Whether credentials were shown that are valid."""
    must_confirm: bool = False
    """Whether the password must be given again for what only admins may do."""
