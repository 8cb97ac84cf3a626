"""Users, sessions and API tokens in memory, so that a request needs no transaction, and in state, to survive."""

import hmac
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final, TypeVar

import structlog
from sqlalchemy import Connection

from toban.access import repository
from toban.access.accounts import TOKEN_FORM, Accounts, ApiToken, Session, SignInLink, User, digest
from toban.core.errors import StateError
from toban.core.metric_registry import MetricRegistry
from toban.core.periodic import run_periodically
from toban.core.ports import Clock, HealthStatus
from toban.core.samples import gauge
from toban.state import audit_log
from toban.state.audit_log import AuditEntry
from toban.state.database import State

log = structlog.get_logger("toban.access")
T = TypeVar("T")

SESSIONS: Final = gauge("toban_sessions", "Sessions of signed-in users.")

WRITE_INTERVAL: Final = timedelta(minutes=1)
"""How often it is written when sessions and tokens were used last."""

MARKER: Final = "toban.users"
"""The file in the data folder that says that there are users: where state is lost, toban does not open to everybody."""

MARKER_TEXT: Final = "toban has users: without sign-in or token, nothing but public pages is served.\n"


class AccessService:
    """
    Authenticates sessions and API tokens, from memory.

    What commands change is written to state first, and is then in force. While state is unavailable, those who are
    signed in stay so.
    """

    name = "access"

    def __init__(self, state: State, folder: Path, clock: Clock, meters: MetricRegistry) -> None:
        self._state = state
        self._marker = folder / MARKER
        self._clock = clock
        self._meters = meters
        self._is_marked = self._marker.exists()
        self._accounts = Accounts()
        self._is_loaded = False
        self._used_sessions: dict[str, datetime] = {}
        self._used_tokens: dict[str, datetime] = {}
        """When they were used last, as far as that is not written yet."""

    async def open(self) -> None:
        """Load everything; while state is unavailable, that is tried again each minute."""
        with suppress(StateError):  # state reports it
            await self.change(lambda _: None)

    async def change(self, work: Callable[[Connection], T]) -> T:
        """
        Run a function in a transaction, and put what is stored afterwards in force. Raises ``StateError``.

        All of it is read again, tens of rows: memory and state can't differ.
        """

        def transact(connection: Connection) -> tuple[T, Accounts]:
            result = work(connection)
            return result, repository.load(connection)

        result, self._accounts = await self._state.transaction(transact)
        self._is_loaded = True
        if self._accounts.users and not self._is_marked:
            self._mark()
        self._used_sessions = {key: at for key, at in self._used_sessions.items() if key in self._accounts.sessions}
        self._used_tokens = {key: at for key, at in self._used_tokens.items() if key in self._accounts.tokens}
        self._meters.set(SESSIONS, len(self._accounts.sessions))
        return result

    def _mark(self) -> None:
        self._is_marked = True
        try:
            self._marker.write_text(MARKER_TEXT, encoding="utf-8")
        except OSError as error:
            log.warning("file not written", file=str(self._marker), error=error.strerror)

    async def record(self, entry: AuditEntry) -> None:
        """Write a row of the audit log about something that changes nothing."""
        try:
            await self._state.transaction(lambda connection: audit_log.record(connection, entry))
        except StateError:
            log.warning("audit entry not written", actor=str(entry.actor), action=entry.action)

    @property
    def has_users(self) -> bool:
        """Whether there are users, or were before state was lost."""
        return bool(self._accounts.users) or self._is_marked

    @property
    def can_sign_in(self) -> bool:
        """Whether there is somebody who can sign in, as far as is known."""
        return any(it.enabled for it in self._accounts.users.values())

    @property
    def accounts(self) -> Accounts:
        """Everything, with the times of last use up to now."""
        stored = self._accounts
        sessions = {key: self._session(it) for key, it in stored.sessions.items() if self._is_valid(it)}
        tokens = {
            key: replace(it, last_used=self._used_tokens.get(key, it.last_used)) for key, it in stored.tokens.items()
        }
        return replace(stored, sessions=sessions, tokens=tokens)

    def session(self, secret: str, *, is_use: bool = True) -> tuple[Session, User] | None:
        """
        Return the session of a secret, with its user; none where it has ended.

        It is noted as used, unless an open page asks by itself.
        """
        session = self._accounts.sessions.get(digest(secret))
        if not session or not self._is_valid(session):
            return None
        used = self._session(session)
        if is_use:
            self._used_sessions[session.id] = self._clock.now()
        return used, self._accounts.users[session.user]

    def token(self, text: str) -> ApiToken | None:
        """Return the API token of a text, and note that it is used; none where it is unknown or has expired."""
        form = TOKEN_FORM.fullmatch(text)
        found = self._accounts.tokens.get(form[1]) if form else None
        if not found or not hmac.compare_digest(found.digest, digest(text)) or found.is_expired(self._clock.now()):
            return None
        self._used_tokens[found.id] = self._clock.now()
        return found

    def is_confirmed(self, session: Session) -> bool:
        """Tell whether the password of a session was given in the last minutes."""
        return session.is_confirmed(self._clock.now())

    def link(self, secret: str) -> SignInLink | None:
        """Return a one-time link that is valid."""
        found = self._accounts.links.get(digest(secret))
        return found if found and self._clock.now() < found.expires else None

    def _session(self, session: Session) -> Session:
        return replace(session, last_used=self._used_sessions.get(session.id, session.last_used))

    def _is_valid(self, session: Session) -> bool:
        user = self._accounts.users.get(session.user)
        return bool(user and user.enabled) and self._clock.now() < self._session(session).expires

    async def run(self) -> None:
        """Write when sessions and tokens were used last, and delete what has expired, until cancelled."""
        await run_periodically(self.name, WRITE_INTERVAL, self._write, clock=self._clock, meters=self._meters)

    async def _write(self) -> None:
        sessions, tokens, now = dict(self._used_sessions), dict(self._used_tokens), self._clock.now()
        if not (sessions or tokens or self._is_over(now)) and self._is_loaded and self._state.is_exclusive:
            return
        try:
            await self.change(lambda connection: repository.touch(connection, sessions, tokens, now))
        except StateError:
            return  # state reports it; the next run writes it
        for used, written in ((self._used_sessions, sessions), (self._used_tokens, tokens)):
            for key, at in written.items():
                if used.get(key) == at:
                    del used[key]

    def _is_over(self, now: datetime) -> bool:
        """Tell whether something has expired that is stored still."""
        expiring: Iterable[datetime] = [
            *(self._session(it).expires for it in self._accounts.sessions.values()),
            *(it.expires for it in self._accounts.links.values()),
        ]
        return any(at <= now for at in expiring)

    def health(self) -> HealthStatus:
        """Return whether users and tokens could be read."""
        if not self._is_loaded and self._is_marked:
            return HealthStatus(False, "users and API tokens could not be read: nobody can sign in")
        accounts = self.accounts
        counts = f"{len(accounts.users)} users, {len(accounts.sessions)} sessions, {len(accounts.tokens)} API tokens"
        return HealthStatus(True, counts)
