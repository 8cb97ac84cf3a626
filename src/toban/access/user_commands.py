"""Commands on users: add, disable, change. The pages, the API and the CLI execute the same ones."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from sqlalchemy import Connection

from toban.access import repository
from toban.access.accounts import LINK_VALID, Accounts, SignInLink, User, checked_user_name, digest, new_secret
from toban.access.passwords import Passwords, checked_password
from toban.access.permissions import Role
from toban.access.service import AccessService
from toban.core import input_limits
from toban.core.actor import Actor
from toban.core.errors import InvalidCommandError, NotFoundError
from toban.core.ports import Clock
from toban.state import audit_log
from toban.state.audit_log import AuditEntry

MAX_USERS: Final = 200


class UserCommands:
    """Changes users; each change and its row of the audit log are one transaction."""

    def __init__(self, service: AccessService, passwords: Passwords, clock: Clock) -> None:
        self._service = service
        self._passwords = passwords
        self._clock = clock

    def get(self, name: str) -> User:
        """Return a user. Raises ``NotFoundError``."""
        return found_user(self._service.accounts, name)

    async def add_user(self, name: str, role: Role, password: str | None, actor: Actor) -> User:
        """
        Add a user; without a password the user chooses one by a one-time link.

        Raises ``InvalidCommandError``, ``BusyError``, ``StateError``.
        """
        new = checked_user_name(name)
        _raise_if_taken(self._service.accounts, new)  # before a password is hashed for nothing
        hashed = await self._passwords.hash(checked_password(password)) if password is not None else ""
        now = self._clock.now()

        def work(connection: Connection) -> User:
            return insert_user(connection, User(0, new, role, now, password=hashed), actor)

        return await self._service.change(work)

    async def disable(self, name: str, actor: Actor) -> None:
        """End all of a user's sessions, and let nobody sign in as that user. Raises as `set_role`."""

        def work(connection: Connection, accounts: Accounts, user: User) -> None:
            _raise_if_last_admin(accounts, user)
            repository.save_user(connection, replace(user, enabled=False))
            repository.delete_links(connection, user.id)
            repository.end_sessions_of(connection, user.id)

        await self._change_user(name, actor, "disabled a user", work)

    async def enable(self, name: str, actor: Actor) -> None:
        """Let a user sign in again. Raises as `set_role`."""

        def work(connection: Connection, accounts: Accounts, user: User) -> None:
            repository.save_user(connection, replace(user, enabled=True))

        await self._change_user(name, actor, "enabled a user", work)

    async def set_role(self, name: str, role: Role, actor: Actor) -> None:
        """
        Give a user another role; the user signs in anew.

        Raises ``NotFoundError``, ``InvalidCommandError``, ``StateError``.
        """

        def work(connection: Connection, accounts: Accounts, user: User) -> None:
            if role is not Role.ADMIN:
                _raise_if_last_admin(accounts, user)
            repository.save_user(connection, replace(user, role=role))
            if role is not user.role:
                repository.end_sessions_of(connection, user.id)

        await self._change_user(name, actor, "changed the role of a user", work, role=role)

    async def set_password(self, name: str, password: str, actor: Actor) -> None:
        """Set a user's password, and end all sessions of the user. Raises as `set_role`, and ``BusyError``."""
        found_user(self._service.accounts, name)
        hashed = await self._passwords.hash(checked_password(password))

        def work(connection: Connection, accounts: Accounts, user: User) -> None:
            repository.save_password(connection, user, hashed)

        await self._change_user(name, actor, "set the password of a user", work)

    async def link(self, name: str, actor: Actor) -> str:
        """
        Return the secret of a one-time link by which a user chooses a password.

        It is valid for 15 minutes and replaces earlier ones. Raises ``NotFoundError``, ``InvalidCommandError`` for a
        user who is disabled, ``StateError``.
        """
        secret = new_secret()

        def work(connection: Connection, accounts: Accounts, user: User) -> None:
            if not user.enabled:
                raise InvalidCommandError(f"user {user.name} is disabled: enable the user first", "name")
            repository.add_link(connection, SignInLink(digest(secret), user.id, self._clock.now() + LINK_VALID))

        await self._change_user(name, actor, "created a one-time link", work)
        return secret

    async def first_admin_link(self, actor: Actor) -> str:
        """Return the secret of a one-time link that makes the first admin. Raises ``StateError``."""
        secret, now = new_secret(), self._clock.now()

        def work(connection: Connection) -> None:
            repository.add_link(connection, SignInLink(digest(secret), None, now + LINK_VALID))
            audit_log.record(connection, AuditEntry(now, actor, "created a one-time link for the first admin"))

        await self._service.change(work)
        return secret

    async def _change_user(
        self,
        name: str,
        actor: Actor,
        action: str,
        change: Callable[[Connection, Accounts, User], None],
        **facts: Any,
    ) -> None:
        """Change a user, as stored at that moment, with a row of the audit log. Raises ``NotFoundError``."""

        def work(connection: Connection) -> None:
            accounts = repository.load(connection)
            user = found_user(accounts, name)
            change(connection, accounts, user)
            about = {"user": user.name, **facts}
            audit_log.record(connection, AuditEntry(self._clock.now(), actor, action, about))

        await self._service.change(work)


def found_user(accounts: Accounts, name: str) -> User:
    """Return a user by name. Raises ``NotFoundError``."""
    if user := accounts.user(name):
        return user
    raise NotFoundError(f"user {input_limits.repair_surrogates(name)[:100]!r} not found")


def _raise_if_taken(accounts: Accounts, name: str) -> None:
    if accounts.user(name):
        raise InvalidCommandError(f"user {name} exists already", "name")
    if len(accounts.users) >= MAX_USERS:
        raise InvalidCommandError(f"there are {MAX_USERS} users already")


def is_last_admin(accounts: Accounts, user: User) -> bool:
    """Tell whether nobody else could change who uses toban."""
    return [it for it in accounts.users.values() if it.role is Role.ADMIN and it.enabled] == [user]


def _raise_if_last_admin(accounts: Accounts, user: User) -> None:
    if is_last_admin(accounts, user):
        raise InvalidCommandError(f"{user.name} is the only admin: make somebody else admin first", "name")


def insert_user(connection: Connection, user: User, actor: Actor) -> User:
    """Add a user, with a row of the audit log; return the user with the id. Raises ``InvalidCommandError``."""
    _raise_if_taken(repository.load(connection), user.name)
    added = replace(user, id=repository.add_user(connection, user))
    repository.delete_links(connection, None)  # there is no first admin to make any more
    audit_log.record(
        connection, AuditEntry(user.created, actor, "added a user", {"user": user.name, "role": user.role})
    )
    return added
