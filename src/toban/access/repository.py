"""Stores users, sessions, API tokens and one-time links."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy import BigInteger, Boolean, Column, Connection, Row, Table, delete, insert, or_, select, true, update

from toban.access.accounts import ABSOLUTE, IDLE, Accounts, ApiToken, Passkey, Session, SignInLink, User
from toban.access.permissions import Permission, Role
from toban.state.column_types import Id, Json, SafeString, Timestamp, metadata
from toban.state.quarantine import readable_rows

USERS: Final = Table(
    "users",
    metadata,
    Column("id", Id, primary_key=True, autoincrement=True),
    Column("name", SafeString(64), nullable=False, unique=True),
    Column("role", SafeString(20), nullable=False),
    Column("password", SafeString(200), nullable=False),
    Column("enabled", Boolean, nullable=False, server_default=true()),
    Column("created", Timestamp, nullable=False),
    Column("last_sign_in", Timestamp, nullable=True),
    sqlite_autoincrement=True,
)
"""Ids are never used twice: the session of a user who is gone must not become that of another."""

SESSIONS: Final = Table(
    "sessions",
    metadata,
    Column("id", SafeString(64), primary_key=True),
    Column("user_id", Id, nullable=False),
    Column("created", Timestamp, nullable=False),
    Column("last_used", Timestamp, nullable=False),
    Column("confirmed", Timestamp, nullable=False),
    Column("address", SafeString(100), nullable=False),
    Column("agent", SafeString(200), nullable=False),
)
API_TOKENS: Final = Table(
    "api_tokens",
    metadata,
    Column("id", SafeString(8), primary_key=True),
    Column("name", SafeString(200), nullable=False),
    Column("scopes", Json, nullable=False),
    Column("digest", SafeString(64), nullable=False),
    Column("created", Timestamp, nullable=False),
    Column("created_by", SafeString(200), nullable=False),
    Column("expires", Timestamp, nullable=True),
    Column("last_used", Timestamp, nullable=True),
)
SIGN_IN_LINKS: Final = Table(
    "sign_in_links",
    metadata,
    Column("digest", SafeString(64), primary_key=True),
    Column("user_id", Id, nullable=True),
    Column("expires", Timestamp, nullable=False),
)
IDENTITIES: Final = Table(
    "identities",
    metadata,
    Column("issuer", SafeString(500), primary_key=True),
    Column("subject", SafeString(255), primary_key=True),
    Column("user_id", Id, nullable=False),
)

PASSKEYS: Final = Table(
    "passkeys",
    metadata,
    Column("id", SafeString(1400), primary_key=True),
    Column("user_id", Id, nullable=False),
    Column("name", SafeString(60), nullable=False),
    Column("public_key", SafeString(4000), nullable=False),
    Column("uses", BigInteger, nullable=False),
    Column("created", Timestamp, nullable=False),
    Column("last_used", Timestamp, nullable=True),
)


def load(connection: Connection) -> Accounts:
    """Return everything. A row that can't be read is left out: it grants nothing."""
    users = _all(connection, USERS, _user)
    return Accounts(
        users={it.id: it for it in users},
        sessions={it.id: it for it in _all(connection, SESSIONS, _session)},
        tokens={it.id: it for it in _all(connection, API_TOKENS, _token)},
        links={it.digest: it for it in _all(connection, SIGN_IN_LINKS, _link)},
        identities=dict(_all(connection, IDENTITIES, lambda row: ((row.issuer, row.subject), row.user_id))),
        passkeys={it.id: it for it in _all(connection, PASSKEYS, _passkey)},
    )


def _all(connection: Connection, table: Table, read: Any) -> list[Any]:
    key = next(iter(table.primary_key))
    return readable_rows(connection, table, connection.execute(select(table).order_by(key)), read)


def _user(row: Row[Any]) -> User:
    return User(row.id, row.name, Role(row.role), row.created, row.enabled, row.password, row.last_sign_in)


def _session(row: Row[Any]) -> Session:
    return Session(row.id, row.user_id, row.created, row.last_used, row.confirmed, row.address, row.agent)


def _token(row: Row[Any]) -> ApiToken:
    scopes = frozenset(Permission(it) for it in row.scopes)
    return ApiToken(row.id, row.name, scopes, row.digest, row.created, row.created_by, row.expires, row.last_used)


def _link(row: Row[Any]) -> SignInLink:
    return SignInLink(row.digest, row.user_id, row.expires)


def _passkey(row: Row[Any]) -> Passkey:
    return Passkey(row.id, row.user_id, row.name, row.public_key, row.uses, row.created, row.last_used)


def add_user(connection: Connection, user: User) -> int:
    """Add a user, and return the id."""
    values = {"name": user.name, "role": user.role, "password": user.password, "created": user.created}
    added = connection.execute(insert(USERS).values(**values, enabled=user.enabled).returning(USERS.c.id))
    return int(added.scalar_one())


def save_user(connection: Connection, user: User) -> None:
    """Write a user who exists."""
    values = {
        "role": user.role,
        "password": user.password,
        "enabled": user.enabled,
        "last_sign_in": user.last_sign_in,
    }
    connection.execute(update(USERS).where(USERS.c.id == user.id).values(**values))


def save_session(connection: Connection, session: Session) -> None:
    """Write a session, in place of the one with its id."""
    connection.execute(delete(SESSIONS).where(SESSIONS.c.id == session.id))
    connection.execute(
        insert(SESSIONS).values(
            id=session.id,
            user_id=session.user,
            created=session.created,
            last_used=session.last_used,
            confirmed=session.confirmed,
            address=session.address[:100],
            agent=session.agent[:200],
        )
    )


def add_identity(connection: Connection, issuer: str, subject: str, user: int) -> None:
    """Let an identity sign in as a user."""
    connection.execute(insert(IDENTITIES).values(issuer=issuer, subject=subject, user_id=user))


def end_sessions(connection: Connection, ids: Iterable[str]) -> None:
    """Delete sessions."""
    connection.execute(delete(SESSIONS).where(SESSIONS.c.id.in_([*ids])))


def end_sessions_of(connection: Connection, user: int) -> None:
    """Delete all sessions of a user."""
    connection.execute(delete(SESSIONS).where(SESSIONS.c.user_id == user))


def save_password(connection: Connection, user: User, hashed: str, *, keep_passkeys: bool = False) -> None:
    """Write the hash of a user's new password; sessions and one-time links of the old one end, and passkeys go."""
    save_user(connection, replace(user, password=hashed))
    delete_links(connection, user.id)
    end_sessions_of(connection, user.id)
    if not keep_passkeys:
        connection.execute(delete(PASSKEYS).where(PASSKEYS.c.user_id == user.id))


def add_passkey(connection: Connection, passkey: Passkey) -> None:
    """Add a passkey."""
    connection.execute(
        insert(PASSKEYS).values(
            id=passkey.id,
            user_id=passkey.user,
            name=passkey.name,
            public_key=passkey.public_key,
            uses=passkey.uses,
            created=passkey.created,
        )
    )


def use_passkey(connection: Connection, passkey: Passkey) -> None:
    """Write the signature counter of a passkey, and when it was used last."""
    used = {"uses": passkey.uses, "last_used": passkey.last_used}
    connection.execute(update(PASSKEYS).where(PASSKEYS.c.id == passkey.id).values(**used))


def delete_passkey(connection: Connection, passkey_id: str) -> None:
    """Delete a passkey."""
    connection.execute(delete(PASSKEYS).where(PASSKEYS.c.id == passkey_id))


def add_token(connection: Connection, token: ApiToken) -> None:
    """Add an API token."""
    connection.execute(
        insert(API_TOKENS).values(
            id=token.id,
            name=token.name,
            scopes=sorted(token.scopes),
            digest=token.digest,
            created=token.created,
            created_by=token.created_by,
            expires=token.expires,
        )
    )


def delete_token(connection: Connection, token_id: str) -> None:
    """Delete an API token."""
    connection.execute(delete(API_TOKENS).where(API_TOKENS.c.id == token_id))


def add_link(connection: Connection, link: SignInLink) -> None:
    """Add a one-time link, in place of earlier ones for the same user."""
    delete_links(connection, link.user)
    connection.execute(insert(SIGN_IN_LINKS).values(digest=link.digest, user_id=link.user, expires=link.expires))


def delete_links(connection: Connection, user: int | None) -> None:
    """Delete the links of a user, or those that make the first admin."""
    connection.execute(delete(SIGN_IN_LINKS).where(SIGN_IN_LINKS.c.user_id.is_not_distinct_from(user)))


def touch(
    connection: Connection, sessions: Mapping[str, datetime], tokens: Mapping[str, datetime], now: datetime
) -> None:
    """Write when sessions and tokens were used last, and delete what has expired."""
    for table, used in ((SESSIONS, sessions), (API_TOKENS, tokens)):
        for key, at in used.items():
            connection.execute(update(table).where(table.c.id == key).values(last_used=at))
    is_over = or_(SESSIONS.c.created <= now - ABSOLUTE, SESSIONS.c.last_used <= now - IDLE)
    connection.execute(delete(SESSIONS).where(is_over))
    connection.execute(delete(SIGN_IN_LINKS).where(SIGN_IN_LINKS.c.expires <= now))
