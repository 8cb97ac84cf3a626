"""Commands on API tokens: create, revoke."""

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import Connection

from toban.access import repository
from toban.access.accounts import ApiToken, digest, new_token_text
from toban.access.permissions import PUBLIC, Permission
from toban.access.service import AccessService
from toban.core import input_limits
from toban.core.actor import Actor
from toban.core.errors import InvalidCommandError, NotFoundError
from toban.core.ports import Clock
from toban.state import audit_log
from toban.state.audit_log import AuditEntry

MAX_TOKENS: Final = 200


class TokenCommands:
    """Changes API tokens; each change and its row of the audit log are one transaction."""

    def __init__(self, service: AccessService, clock: Clock) -> None:
        self._service = service
        self._clock = clock

    async def create(
        self, name: str, scopes: Collection[Permission], valid: timedelta | None, actor: Actor
    ) -> tuple[ApiToken, str]:
        """
        Create an API token; return it with its text, which is never shown again. ``valid`` is for how long.

        Raises ``InvalidCommandError``, ``StateError``.
        """
        try:
            label = input_limits.checked_text(name.strip(), input_limits.PERSON_LENGTH)
        except ValueError as error:
            raise InvalidCommandError(str(error), "name") from error
        if not label or not label.isprintable():
            raise InvalidCommandError("must be the name of the program that uses it, in one line", "name")
        granted = frozenset(scopes) | PUBLIC
        if granted == PUBLIC:
            raise InvalidCommandError("at least one is required", "scopes")
        now = self._clock.now()
        token_id, text = new_token_text()
        token = ApiToken(token_id, label, granted, digest(text), now, actor.name, _expiry(now, valid))

        def work(connection: Connection) -> None:
            tokens = repository.load(connection).tokens.values()
            if len(tokens) >= MAX_TOKENS:
                raise InvalidCommandError(f"there are {MAX_TOKENS} API tokens already: revoke some of them first")
            if any(it.name == label for it in tokens):
                raise InvalidCommandError(f"an API token {label!r} exists already", "name")
            repository.add_token(connection, token)
            audit_log.record(connection, AuditEntry(now, actor, "created an API token", _token_facts(token)))

        await self._service.change(work)
        return token, text

    async def revoke(self, token_id: str, actor: Actor) -> None:
        """Revoke an API token, by its id. Raises ``NotFoundError``, ``StateError``."""

        def work(connection: Connection) -> None:
            token = repository.load(connection).tokens.get(token_id)
            if not token:
                raise NotFoundError(f"API token {token_id[:50]!r} not found")
            repository.delete_token(connection, token_id)
            entry = AuditEntry(self._clock.now(), actor, "revoked an API token", _token_facts(token))
            audit_log.record(connection, entry)

        await self._service.change(work)


def _expiry(now: datetime, valid: timedelta | None) -> datetime | None:
    if valid is None:
        return None
    try:
        expires = input_limits.checked_time(now + valid)
    except (ValueError, OverflowError) as error:
        raise InvalidCommandError(str(error), "expires") from error
    if expires <= now:
        raise InvalidCommandError("must be longer than nothing", "expires")
    return expires


def _token_facts(token: ApiToken) -> dict[str, Any]:
    expires = token.expires.isoformat() if token.expires else None
    return {"token": token.id, "name": token.name, "scopes": sorted(token.scopes), "expires": expires}
