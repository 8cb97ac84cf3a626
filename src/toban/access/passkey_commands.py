"""Commands on passkeys: add, remove, sign in with one."""

import asyncio
from dataclasses import replace
from typing import Final

import structlog
from sqlalchemy import Connection

from toban.access import passkeys, repository
from toban.access.accounts import Passkey, Session, new_secret
from toban.access.passkeys import Challenges, PasskeyError, RelyingParty, Response
from toban.access.service import AccessService
from toban.access.sessions import Client, begin_session
from toban.access.sign_in_commands import SIGN_INS, ThrottledError
from toban.access.throttle import SignInThrottle
from toban.core import input_limits
from toban.core.actor import Actor
from toban.core.errors import InvalidCommandError, NotFoundError
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock
from toban.state import audit_log
from toban.state.audit_log import AuditEntry

log = structlog.get_logger("toban.access")

MAX_PASSKEYS: Final = 10
"""Passkeys of one user."""
NAME_LENGTH: Final = 60


class PasskeyCommands:
    """Changes passkeys and signs in with them; each change and its row of the audit log are one transaction."""

    def __init__(self, service: AccessService, throttle: SignInThrottle, clock: Clock, meters: MetricRegistry) -> None:
        """``throttle`` limits attempts together with those by password."""
        self._service = service
        self._throttle = throttle
        self._clock = clock
        self._meters = meters
        self._challenges = Challenges(clock)

    async def creation_options(self, session: Session, party: RelyingParty) -> str:
        """Return the options by which the browser of a session makes a passkey, as JSON."""
        accounts, challenge = self._service.accounts, self._challenges.new(_adding(session))
        user, existing = accounts.users[session.user], accounts.passkeys_of(session.user)
        return await asyncio.to_thread(passkeys.creation_options, party, user, existing, challenge)

    async def add(self, session: Session, name: str, response: str, party: RelyingParty, actor: Actor) -> None:
        """Add a passkey of a session's user. Raises ``PasskeyError``, ``InvalidCommandError``, ``StateError``."""
        label = _checked_name(name)
        read = Response.of(response)
        self._challenges.redeem(read.challenge, _adding(session))
        key, public, uses = await asyncio.to_thread(passkeys.verify_creation, read, party)
        now = self._clock.now()
        passkey = Passkey(key, session.user, label, public, uses, now)

        def work(connection: Connection) -> None:
            accounts = repository.load(connection)
            if len(accounts.passkeys_of(session.user)) >= MAX_PASSKEYS:
                raise InvalidCommandError(f"you have {MAX_PASSKEYS} passkeys already: remove one first", "name")
            if key in accounts.passkeys:
                raise PasskeyError("the passkey exists already")
            repository.add_passkey(connection, passkey)
            audit_log.record(connection, AuditEntry(now, actor, "added a passkey", {"passkey": passkey.short_id}))

        await self._service.change(work)

    async def remove(self, short_id: str, actor: Actor, user: int | None = None) -> None:
        """Remove a passkey, of one user where it is given. Raises ``NotFoundError``, ``StateError``."""

        def work(connection: Connection) -> None:
            accounts = repository.load(connection)
            found = [it for it in accounts.passkeys.values() if it.short_id == short_id and user in {None, it.user}]
            if not found:
                raise NotFoundError(f"passkey {short_id[:50]!r} not found")
            repository.delete_passkey(connection, found[0].id)
            facts = {"passkey": short_id, "user": accounts.users[found[0].user].name}
            audit_log.record(connection, AuditEntry(self._clock.now(), actor, "removed a passkey", facts))

        await self._service.change(work)

    async def request_options(self, party: RelyingParty) -> str:
        """Return the options by which a browser signs in with a passkey, as JSON."""
        return await asyncio.to_thread(passkeys.request_options, party, self._challenges.new("sign in"))

    async def sign_in(self, response: str, party: RelyingParty, client: Client, before: str = "") -> str:
        """
        Return the secret of a new session of the user whose passkey was used.

        ``before`` is the session that the browser had, which ends. Raises ``PasskeyError``, ``ThrottledError``,
        ``StateError``.
        """
        now = self._clock.monotonic()
        key = f"passkey from {client.address}"  # whose passkey it is, is not known before it is checked
        if wait := self._throttle.wait(key, client.address, now):
            self._meters.add(SIGN_INS, result="throttled")
            raise ThrottledError(wait)
        self._throttle.begin(key, client.address, now)
        try:
            passkey, uses = await self._verified(response, party)
            secret = await self._begin(passkey, uses, client, before)
        except PasskeyError as error:
            self._meters.add(SIGN_INS, result="failed")
            log.warning("sign-in failed", by="passkey", address=client.address, error=str(error))
            raise
        self._throttle.succeeded(key, client.address, now)
        self._meters.add(SIGN_INS, result="success")
        return secret

    async def _verified(self, response: str, party: RelyingParty) -> tuple[Passkey, int]:
        read = Response.of(response)
        self._challenges.redeem(read.challenge, "sign in")
        passkey = self._service.accounts.passkeys.get(read.id)
        if not passkey:
            raise PasskeyError("the passkey is unknown, or was removed")
        return passkey, await asyncio.to_thread(passkeys.verify_use, read, party, passkey)

    async def _begin(self, passkey: Passkey, uses: int, client: Client, before: str) -> str:
        secret, now = new_secret(), self._clock.now()

        def work(connection: Connection) -> None:
            accounts = repository.load(connection)
            current, user = accounts.passkeys.get(passkey.id), accounts.users.get(passkey.user)
            if not current or not user or not user.enabled:
                raise PasskeyError("the passkey was removed, or its user is disabled")
            if current.uses != passkey.uses:
                raise PasskeyError("the passkey was used twice at once")
            repository.use_passkey(connection, replace(current, uses=uses, last_used=now))
            repository.save_user(connection, replace(user, last_sign_in=now))
            repository.end_sessions(connection, [before])
            begin_session(connection, accounts, secret, user.id, client, now)
            actor = Actor(user.name, "passkey", client.address)
            audit_log.record(connection, AuditEntry(now, actor, "signed in", {"agent": client.agent[:200]}))

        await self._service.change(work)
        return secret


def _adding(session: Session) -> str:
    return f"add to {session.id}"


def _checked_name(name: str) -> str:
    """Return by which name a user knows a passkey. Raises ``InvalidCommandError``."""
    try:
        label = input_limits.checked_text(name.strip(), NAME_LENGTH)
    except ValueError as error:
        raise InvalidCommandError(str(error), "name") from error
    if not label or not label.isprintable():
        raise InvalidCommandError("must be a name for the passkey, in one line", "name")
    return label
