"""The begin of a session, however somebody signs in."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import Connection

from toban.access import repository
from toban.access.accounts import Accounts, Session, digest
from toban.core import input_limits

MAX_SESSIONS: Final = 20
"""Sessions of one user; a further one ends the one that was used the longest ago."""


@dataclass(frozen=True, slots=True)
class Client:
    """Who signs in: the address and the browser."""

    address: str
    agent: str = ""


def begin_session(
    connection: Connection,
    accounts: Accounts,
    secret: str,
    user: int,
    client: Client,
    now: datetime,
    confirmed: datetime | None = None,
) -> None:
    """Begin a session; where a user has too many, those that were used the longest ago end."""
    agent = input_limits.repair_surrogates(client.agent)
    repository.end_sessions(connection, [it.id for it in accounts.sessions_of(user)[MAX_SESSIONS - 1 :]])
    session = Session(digest(secret), user, now, now, confirmed or now, client.address, agent)
    repository.save_session(connection, session)
