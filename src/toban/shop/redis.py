"""Access to the shop's Redis."""

import asyncio
import contextlib
import re
from enum import StrEnum
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

from pydantic import SecretStr
from redis import exceptions
from redis.asyncio.connection import Connection, parse_url

from toban.core.errors import CollectError, SettingsError
from toban.core.http_client import NO_CONNECTION, NO_RESPONSE, error_reason

TIMEOUT: Final = 5.0
"""Seconds that a connection, and a reply, may take."""

KNOWN_AFTER: Final = 7.0
"""Seconds after which it is known why a server doesn't respond: the smallest timeout of a collection."""


ENCODE: Final = "special characters in the password must be percent-encoded (@ is %40, / is %2F, # is %23)"


class RedisFailure(StrEnum):
    """Why the shop's Redis could not be read."""

    TOO_MANY_CLIENTS = "too_many_clients"
    WRONG_PASSWORD = "wrong_password"  # noqa: S105  # the name of a failure, not a password
    QUOTA_EXCEEDED = "quota_exceeded"
    LOADING = "loading"
    UNREACHABLE = "unreachable"
    TIMED_OUT = "timed_out"
    NO_PRIVILEGE = "no_privilege"
    OTHER = "other"


BY_MESSAGE: Final = (
    (r"max number of clients|max concurrent connections", RedisFailure.TOO_MANY_CLIENTS),
    (
        r"WRONGPASS|NOAUTH|invalid (username-password|password)|without any password configured"
        r"|[Aa]uthentication required|wrong number of arguments for 'auth'",
        RedisFailure.WRONG_PASSWORD,
    ),
    (r"(limit|quota) exceeded", RedisFailure.QUOTA_EXCEEDED),
    (r"LOADING|loading the dataset", RedisFailure.LOADING),
    # A command that the configuration renamed or removed is one that no user may run.
    (r"NOPERM|[Nn]o permissions?|[Uu]nknown command", RedisFailure.NO_PRIVILEGE),
)

ADVICE: Final = {
    RedisFailure.TOO_MANY_CLIENTS: "it has no free connection",
    RedisFailure.WRONG_PASSWORD: "it rejects this user: see shop.redis",
    RedisFailure.QUOTA_EXCEEDED: "its plan's quota is used up",
    RedisFailure.LOADING: "it is loading its data from disk",
    RedisFailure.UNREACHABLE: "it can't be reached",
    RedisFailure.TIMED_OUT: "it took too long",
    RedisFailure.NO_PRIVILEGE: "this user lacks the permission",
    RedisFailure.OTHER: "it failed",
}


class RedisError(CollectError):
    """The shop's Redis could not be read, and why."""

    def __init__(self, message: str, reason: RedisFailure) -> None:
        super().__init__(message)
        self.reason = reason


def failure_reason(error: exceptions.RedisError) -> RedisFailure:
    """Return the reason by Redis' message, and by the type of the error where that says nothing."""
    known = next((reason for pattern, reason in BY_MESSAGE if re.search(pattern, str(error))), None)
    if known:
        return known
    if isinstance(error, exceptions.AuthenticationError):
        return RedisFailure.WRONG_PASSWORD
    if isinstance(error, exceptions.TimeoutError):
        return RedisFailure.TIMED_OUT
    return RedisFailure.UNREACHABLE if isinstance(error, exceptions.ConnectionError) else RedisFailure.OTHER


class ShopRedis:
    """
    Sends commands, one after the other on one connection, and counts them.

    It connects at the first command. TLS is used for rediss:// addresses, never otherwise.
    Raises ``SettingsError`` when the address is invalid; no message contains its password.
    """

    def __init__(self, address: SecretStr) -> None:
        self._connection = _connection(address.get_secret_value())
        self.address = urlsplit(address.get_secret_value()).netloc.rpartition("@")[2]
        """Host and port, without secrets."""
        self.commands = 0
        """Commands that were sent: Upstash bills each."""
        self._lock = asyncio.Lock()

    @property
    def database(self) -> str:
        """The database in the address, as INFO calls it."""
        return f"db{self._connection.db}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._disconnect()

    async def execute(self, *command: str | bytes) -> Any:
        """
        Send one command and return its reply, text as bytes; wait for other commands, and at most 5 s for the reply.

        Raises ``RedisError``.
        """
        async with self._lock:
            used_before = self._connection.is_connected
            try:
                try:
                    return await self._send(command)
                except exceptions.ConnectionError:
                    # A server closes idle connections (Upstash soon does): a new one shows the server's state.
                    if not used_before:
                        raise
                    await self._disconnect()
                    return await self._send(command)
            except exceptions.RedisError as error:
                if not isinstance(error, exceptions.ResponseError):
                    await self._disconnect()
                reason = failure_reason(error)
                raise RedisError(
                    f"redis {self.address}: {command[0]!s}: {self._message(error, reason)}", reason
                ) from error
            except BaseException:
                # Cancelled halfway: the next reply on this connection would be that of another command.
                await self._disconnect()
                raise

    async def _send(self, command: tuple[str | bytes, ...]) -> Any:
        if not self._connection.is_connected:
            # Connecting sends AUTH and SELECT where the address has a user or a database.
            user = self._connection.username or self._connection.password
            self.commands += bool(user) + bool(self._connection.db)
            await self._connection.connect()  # type: ignore[no-untyped-call]  # redis-py left it untyped
        self.commands += 1
        await self._connection.send_command(*command)
        return await self._connection.read_response()

    def _message(self, error: exceptions.RedisError, reason: RedisFailure) -> str:
        """Return Redis' message, the reason, and the remedy."""
        if reason is RedisFailure.TIMED_OUT:
            # The server accepted the connection, and hangs.
            return NO_CONNECTION if "connecting" in str(error) else NO_RESPONSE
        message = error_reason(error) if reason is RedisFailure.UNREACHABLE else str(error)
        return f"{ADVICE[reason]}: {message.rstrip('.')}{self._remedy(error)}"

    def _remedy(self, error: exceptions.RedisError) -> str:
        """Return the remedy: a missing permission, or what else would help; empty, where none is known."""
        message = str(error)
        if forbidden := re.search(r"run the '([\w|]+)' command", message):
            return f": ACL SETUSER {self._connection.username or 'default'} +{forbidden[1]}"
        if unknown := re.search(r"[Uu]nknown command [`'\"]?(\w+)", message):
            name = unknown[1].upper()
            return (
                f": its configuration renamed or removed {name}: take the line rename-command {name} out of redis.conf,"
                " and limit users by ACL instead"
            )
        if "WRONGTYPE" in message:
            return (
                ": a key with the name of one of the queue's is no list, set or hash of BullMQ's: TYPE shows which of"
                " them it is; see `prefix` and `queue` of the collector, or remove that key"
            )
        return ""

    async def _disconnect(self) -> None:
        # It may be broken in any way.
        with contextlib.suppress(exceptions.RedisError, OSError):
            await self._connection.disconnect(nowait=True)


def _connection(address: str) -> Connection:
    try:
        parts = urlsplit(address)
    except ValueError:  # an IPv6 address without a closing bracket, or a bracket in a password
        raise _invalid("an IPv6 host is in [brackets], and brackets in a password are %5B and %5D") from None
    try:
        _ = parts.port
    except ValueError:
        several = "," in parts.netloc.rpartition("@")[2]
        raise _invalid(
            "it must name one host" if several else f"the port must be a number below 65536, and {ENCODE}"
        ) from None
    if "@" in f"{parts.path}{parts.query}{parts.fragment}":
        raise _invalid(ENCODE)  # a part of the password would be taken for the host
    if not re.fullmatch(r"/?|/[0-9]+", parts.path):
        raise _invalid("the path must be the number of a database, like /0")
    try:
        parameters: dict[str, Any] = dict(parse_url(address))
        class_ = parameters.pop("connection_class", Connection)
        own = {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT, "protocol": 2, "driver_info": None}
        connection: Connection = class_(**{**parameters, **own})
    except TypeError as error:
        unknown = re.search(r"keyword argument '(\w+)'", str(error))
        raise _invalid(
            f"unknown parameter {unknown[1]!r}: remove it" if unknown else "its parameters are wrong"
        ) from None
    except (ValueError, exceptions.RedisError) as error:
        named = re.search(r"value for '(\w+)'", str(error))
        raise _invalid(f"its parameter {named[1]!r} is wrong" if named else "its parameters are wrong") from None
    return connection


def _invalid(problem: str) -> SettingsError:
    return SettingsError(f"shop.redis is invalid: {problem}")
