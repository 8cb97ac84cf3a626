"""Signing in and out, and one-time links."""

import math
from collections.abc import Collection
from dataclasses import replace
from datetime import datetime
from typing import Final

import structlog
from sqlalchemy import Connection

from toban.access import repository
from toban.access.accounts import (
    CONFIRMED_FOR,
    USER_NAME,
    Accounts,
    Session,
    SignInLink,
    User,
    checked_user_name,
    digest,
    new_secret,
    user_name,
)
from toban.access.oidc import Identity
from toban.access.passwords import BusyError, Passwords, checked_password
from toban.access.permissions import Role
from toban.access.service import AccessService
from toban.access.sessions import Client, begin_session
from toban.access.settings import OidcSettings
from toban.access.throttle import SignInThrottle, network_of
from toban.access.user_commands import found_user, insert_user, is_last_admin
from toban.core.actor import Actor
from toban.core.errors import NotFoundError, TobanError
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock
from toban.core.samples import counter
from toban.state import audit_log
from toban.state.audit_log import AuditEntry

log = structlog.get_logger("toban.access")

SIGN_INS: Final = counter(
    "toban_sign_ins_total",
    "Attempts to sign in, by result: success, failed, throttled (too many failures), busy (too many at once).",
    labels=("result",),
)


class SignInError(TobanError):
    """The name or the password is wrong; which of the two, nobody is told."""

    def __init__(self) -> None:
        super().__init__("the name or the password is wrong")


class UnknownIdentityError(TobanError):
    """An identity of a provider belongs to no user who may sign in."""

    def __init__(self, identity: Identity) -> None:
        who = identity.email or f"subject {identity.subject}"
        super().__init__(f"no user may sign in as {who}: an admin adds one under this verified e-mail address")


class ThrottledError(TobanError):
    """There were too many failures: ``after`` is in how many seconds the next attempt is accepted."""

    def __init__(self, after: float) -> None:
        self.after = math.ceil(after)
        super().__init__(f"too many failed attempts: retry in {self.after} seconds")


class SignInCommands:
    """Begins and ends sessions; each change and its row of the audit log are one transaction."""

    def __init__(
        self,
        service: AccessService,
        passwords: Passwords,
        clock: Clock,
        meters: MetricRegistry,
        throttle: SignInThrottle | None = None,
    ) -> None:
        self._service = service
        self._passwords = passwords
        self._throttle = throttle or SignInThrottle()
        self._clock = clock
        self._meters = meters
        meters.add(SIGN_INS, 0, result="failed")  # so that the rule about failed ones has something to read

    async def sign_in(self, name: str, password: str, client: Client, before: str = "") -> str:
        """
        Return the secret of a new session.

        ``before`` is the session that the browser had, which ends. Raises ``SignInError``, ``ThrottledError``,
        ``BusyError``, ``StateError``.
        """
        user = await self._verified(name, password, client)
        rehashed = ""
        if self._passwords.needs_rehash(user.password) and not self._passwords.is_busy:
            rehashed = await self._passwords.hash(password)
        secret, now = new_secret(), self._clock.now()
        actor = Actor(user.name, "session", client.address)

        def work(connection: Connection) -> None:
            accounts = repository.load(connection)
            current = accounts.users.get(user.id)
            if not current or not current.enabled or current.password != user.password:
                raise SignInError  # changed while the password was being verified
            saved = replace(current, last_sign_in=now, password=rehashed or current.password)
            repository.save_user(connection, saved)
            repository.end_sessions(connection, [before])
            begin_session(connection, accounts, secret, user.id, client, now)
            audit_log.record(connection, AuditEntry(now, actor, "signed in", {"agent": client.agent[:200]}))

        await self._service.change(work)
        return secret

    async def sign_in_identity(
        self, identity: Identity, settings: OidcSettings, client: Client, before: str = ""
    ) -> str:
        """
        Return the secret of a new session of the user whom a provider has identified.

        An identity that is new belongs to the user who was added under its verified e-mail address and has never signed
        in, or to a new user where its domain is allowed. Raises ``UnknownIdentityError``, ``StateError``.
        """
        secret, now = new_secret(), self._clock.now()
        confirmed = min(now, identity.authenticated or now - CONFIRMED_FOR)
        granted = [settings.groups[it] for it in identity.groups if it in settings.groups]
        role = max(granted, key=list(Role).index, default=None)

        def work(connection: Connection) -> None:
            if settings.groups and not role:
                raise UnknownIdentityError(identity)
            accounts = repository.load(connection)
            user = _user_of(connection, accounts, identity, settings, client, now)
            actor = Actor(user.name, "OpenID Connect", client.address)
            if role and role is not user.role and not is_last_admin(accounts, user):
                facts = {"user": user.name, "role": role}
                audit_log.record(connection, AuditEntry(now, actor, "changed the role of a user", facts))
                repository.end_sessions_of(connection, user.id)
                user = replace(user, role=role)
            repository.save_user(connection, replace(user, last_sign_in=now))
            repository.end_sessions(connection, [before])
            begin_session(connection, accounts, secret, user.id, client, now, confirmed)
            audit_log.record(connection, AuditEntry(now, actor, "signed in", {"agent": client.agent[:200]}))

        try:
            await self._service.change(work)
        except UnknownIdentityError:
            self._meters.add(SIGN_INS, result="failed")
            raise
        self._meters.add(SIGN_INS, result="success")
        return secret

    async def _verified(self, name: str, password: str, client: Client) -> User:
        """Return the user whose password this is. Raises ``SignInError``, ``ThrottledError``, ``BusyError``."""
        key, now = user_name(name), self._clock.monotonic()
        accounts = self._service.accounts
        user = accounts.user(key)
        network = network_of(client.address)
        sessions = accounts.sessions_of(user.id) if user else []
        is_known = any(network_of(it.address) == network for it in sessions)
        if wait := self._throttle.wait(key, client.address, now, is_known=is_known):
            self._meters.add(SIGN_INS, result="throttled")
            raise ThrottledError(wait)
        if self._passwords.is_busy:
            self._meters.add(SIGN_INS, result="busy")
            raise BusyError
        self._throttle.begin(key, client.address, now)
        is_right = await self._passwords.verify(user.password if user and user.enabled else "", password)
        if not user or not is_right:
            self._meters.add(SIGN_INS, result="failed")
            await self._record_failure(user, client)
            raise SignInError
        self._throttle.succeeded(key, client.address, now)
        self._meters.add(SIGN_INS, result="success")
        return user

    async def _record_failure(self, user: User | None, client: Client) -> None:
        """Write a failure to the audit log: for a known user only, for others choose what they type there."""
        log.warning("sign-in failed", user=user.name if user else "unknown", address=client.address)
        if user is None:
            return
        actor = Actor(user.name, "failed sign-in", client.address)
        entry = AuditEntry(self._clock.now(), actor, "failed to sign in", {"agent": client.agent[:200]})
        await self._service.record(entry)

    async def sign_out(self, session: Session, actor: Actor) -> None:
        """End a session. Raises ``StateError``."""
        await self._end_sessions([session], actor, "signed out")

    async def redeem(self, secret: str, name: str, password: str, client: Client) -> str:
        """
        Choose a password by a one-time link, and return the secret of a new session.

        ``name`` is that of the first admin, where the link makes one. Raises ``NotFoundError`` for a link that is not
        valid (any more), ``InvalidCommandError``, ``BusyError``, ``StateError``.
        """
        self._valid_link(secret)
        checked = checked_password(password)
        new = checked_user_name(name) if self._valid_link(secret).user is None else ""
        hashed = await self._passwords.hash(checked)
        session, now = new_secret(), self._clock.now()

        def work(connection: Connection) -> None:
            accounts = repository.load(connection)
            link = accounts.links.get(digest(secret))
            if not link or link.expires <= now or (link.user is None and accounts.users):
                raise _link_not_found()
            if link.user is None:
                actor = Actor(new, "one-time link", client.address)
                user = insert_user(connection, User(0, new, Role.ADMIN, now, password=hashed), actor)
            else:
                user = _linked_user(accounts, link)
                actor = Actor(user.name, "one-time link", client.address)
                repository.save_password(connection, user, hashed)
                audit_log.record(connection, AuditEntry(now, actor, "set the password of a user", {"user": user.name}))
            repository.delete_links(connection, link.user)
            repository.save_user(connection, replace(user, password=hashed, last_sign_in=now))
            begin_session(connection, accounts, session, user.id, client, now)
            audit_log.record(connection, AuditEntry(now, actor, "signed in", {"agent": client.agent[:200]}))

        await self._service.change(work)
        return session

    def _valid_link(self, secret: str) -> SignInLink:
        link = self._service.link(secret)
        if not link or (link.user is None and self._service.has_users):
            raise _link_not_found()
        return link

    def link_user(self, secret: str) -> str:
        """
        Return the name of the user of a one-time link, empty for the first admin.

        Raises ``NotFoundError`` for a link that is not valid (any more).
        """
        link = self._valid_link(secret)
        return _linked_user(self._service.accounts, link).name if link.user is not None else ""

    async def change_own_password(self, session: Session, current: str, password: str, client: Client) -> str:
        """
        Change the password of a session's user; return the secret of the only session that is left, a new one.

        Raises ``SignInError`` where the current password is wrong, ``InvalidCommandError``, ``ThrottledError``,
        ``BusyError``, ``StateError``.
        """
        checked = checked_password(password)
        user = self._service.accounts.users[session.user]
        await self._verified(user.name, current, client)
        hashed = await self._passwords.hash(checked)
        secret, now = new_secret(), self._clock.now()
        actor = Actor(user.name, "session", client.address)

        def work(connection: Connection) -> None:
            accounts = repository.load(connection)
            owner = accounts.users.get(user.id)
            if not owner or not owner.enabled or owner.password != user.password:
                raise SignInError
            repository.save_password(connection, owner, hashed, keep_passkeys=True)
            begin_session(connection, accounts, secret, owner.id, client, now)
            audit_log.record(connection, AuditEntry(now, actor, "changed the own password", {"user": owner.name}))

        await self._service.change(work)
        return secret

    async def end_session(self, short_id: str, actor: Actor, user: int | None = None) -> None:
        """End a session, of one user where it is given. Raises ``NotFoundError``, ``StateError``."""
        sessions = self._service.accounts.sessions.values()
        found = [it for it in sessions if it.short_id == short_id and user in {None, it.user}]
        if not found:
            raise NotFoundError(f"session {short_id[:50]!r} not found: it may have ended")
        await self._end_sessions(found, actor, "ended a session")

    async def end_sessions_of(self, name: str, actor: Actor) -> None:
        """End all sessions of a user. Raises ``NotFoundError``, ``StateError``."""
        accounts = self._service.accounts
        await self._end_sessions(accounts.sessions_of(found_user(accounts, name).id), actor, "ended sessions")

    async def _end_sessions(self, sessions: Collection[Session], actor: Actor, action: str) -> None:
        users = self._service.accounts.users
        facts = {
            "user": ", ".join(sorted({users[it.user].name for it in sessions})),
            "sessions": [it.short_id for it in sessions],
        }

        def work(connection: Connection) -> None:
            repository.end_sessions(connection, [it.id for it in sessions])
            audit_log.record(connection, AuditEntry(self._clock.now(), actor, action, facts))

        await self._service.change(work)


def _link_not_found() -> NotFoundError:
    return NotFoundError("this link is not valid: it was used already, or is older than 15 minutes")


def _linked_user(accounts: Accounts, link: SignInLink) -> User:
    user = accounts.users.get(link.user or 0)
    if not user or not user.enabled:
        raise _link_not_found()
    return user


def _user_of(
    connection: Connection,
    accounts: Accounts,
    identity: Identity,
    settings: OidcSettings,
    client: Client,
    now: datetime,
) -> User:
    """Return the user of an identity; a new one gets its user here. Raises ``UnknownIdentityError``."""
    email = identity.email
    found = accounts.identities.get((identity.issuer, identity.subject))
    user = accounts.users.get(found) if found is not None else None
    if found is None:
        namesake = accounts.user(email) if email else None
        if namesake and _is_invited(accounts, namesake):
            user = namesake
        elif not namesake and email.rpartition("@")[2] in settings.allow_domains and USER_NAME.fullmatch(email):
            actor = Actor(email, "OpenID Connect", client.address)
            user = insert_user(connection, User(0, email, Role.VIEWER, now), actor)
        if user and user.enabled:
            repository.add_identity(connection, identity.issuer, identity.subject, user.id)
            repository.delete_links(connection, user.id)
    if not user or not user.enabled:
        raise UnknownIdentityError(identity)
    return user


def _is_invited(accounts: Accounts, user: User) -> bool:
    """Tell whether a user was added, and has never signed in: an account in use is not given to an e-mail address."""
    return not user.password and user.last_sign_in is None and user.id not in accounts.identities.values()
