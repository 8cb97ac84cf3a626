"""The shop's Redis, lent for looking."""

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
from toban.core.http_client import HANGS, NO_CONNECTION
from toban.core.http_client import error_reason as why

PATIENCE: Final = 5.0
"""Seconds that a connection, and an answer, may take."""

KNOWN_AFTER: Final = 7.0
"""Seconds after which it is known why a server doesn't answer; nobody gives up earlier."""


ENCODE: Final = "special characters in the password must be percent-encoded (@ is %40, / is %2F, # is %23)"


class RedisFailure(StrEnum):
    """Why the shop's Redis could not be looked at."""

    TOO_MANY_CLIENTS = "too_many_clients"
    WRONG_PASSWORD = "wrong_password"  # noqa: S105  # the name of a trouble, not a password
    QUOTA_EXCEEDED = "quota_exceeded"
    LOADING = "loading"
    UNREACHABLE = "unreachable"
    TIMED_OUT = "timed_out"
    NO_PRIVILEGE = "no_privilege"
    OTHER = "other"


BY_WORDS: Final = (
    (r"max number of clients|max concurrent connections", RedisFailure.TOO_MANY_CLIENTS),
    (
        r"WRONGPASS|NOAUTH|invalid (username-password|password)|without any password configured"
        r"|[Aa]uthentication required|wrong number of arguments for 'auth'",
        RedisFailure.WRONG_PASSWORD,
    ),
    (r"(limit|quota) exceeded", RedisFailure.QUOTA_EXCEEDED),
    (r"LOADING|loading the dataset", RedisFailure.LOADING),
    # A command that the configuration renamed or removed is one that nobody may.
    (r"NOPERM|[Nn]o permissions?|[Uu]nknown command", RedisFailure.NO_PRIVILEGE),
)

ADVICE: Final = {
    RedisFailure.TOO_MANY_CLIENTS: "it has as many clients as it allows",
    RedisFailure.WRONG_PASSWORD: "it does not let this user in: see shop.redis",
    RedisFailure.QUOTA_EXCEEDED: "its plan's quota is used up",
    RedisFailure.LOADING: "it is reading its data from disk",
    RedisFailure.UNREACHABLE: "it can't be reached",
    RedisFailure.TIMED_OUT: "it took too long",
    RedisFailure.NO_PRIVILEGE: "this user may not",
    RedisFailure.OTHER: "it failed",
}


class RedisError(CollectError):
    """The shop's Redis could not be looked at, and why."""

    def __init__(self, message: str, reason: RedisFailure) -> None:
        super().__init__(message)
        self.reason = reason


def reason_of(error: exceptions.RedisError) -> RedisFailure:
    """Tell why from what Redis said, and from what happened where it said nothing."""
    named = next((reason for pattern, reason in BY_WORDS if re.search(pattern, str(error))), None)
    if named:
        return named
    if isinstance(error, exceptions.AuthenticationError):
        return RedisFailure.WRONG_PASSWORD
    if isinstance(error, exceptions.TimeoutError):
        return RedisFailure.TIMED_OUT
    return RedisFailure.UNREACHABLE if isinstance(error, exceptions.ConnectionError) else RedisFailure.OTHER


class ShopRedis:
    """
    Lends the shop's Redis for looking: one connection, one command after the other, each counted.

    It connects when somebody asks. TLS is used when the address says rediss://, never otherwise.
    Raises ``SettingsError`` when the address can't be read; no message shows its password.
    """

    def __init__(self, address: SecretStr) -> None:
        self._connection = _connection(address.get_secret_value())
        self.address = urlsplit(address.get_secret_value()).netloc.rpartition("@")[2]
        """Host and port, without anything secret."""
        self.commands = 0
        """How many commands were sent to it: at Upstash each is billed."""
        self._turn = asyncio.Lock()

    @property
    def database(self) -> str:
        """The database of the address, as INFO calls it."""
        return f"db{self._connection.db}"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, sort: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._disconnect()

    async def ask(self, *command: str) -> Any:
        """
        Send one command and return its reply, text as bytes; wait for one's turn, and at most 5 s for the answer.

        Raises ``RedisError``.
        """
        async with self._turn:
            used_before = self._connection.is_connected
            try:
                try:
                    return await self._asked(command)
                except exceptions.ConnectionError:
                    # A server closes connections that were idle (Upstash soon does): a fresh one tells how things are.
                    if not used_before:
                        raise
                    await self._disconnect()
                    return await self._asked(command)
            except exceptions.RedisError as error:
                if not isinstance(error, exceptions.ResponseError):
                    await self._disconnect()
                reason = reason_of(error)
                raise RedisError(f"redis {self.address}: {command[0]}: {self._said(error, reason)}", reason) from error
            except BaseException:
                # Cut off halfway: the next reply on this connection would be the answer to another question.
                await self._disconnect()
                raise

    async def _asked(self, command: tuple[str, ...]) -> Any:
        if not self._connection.is_connected:
            # Connecting sends AUTH and SELECT where the address asks for them.
            user = self._connection.username or self._connection.password
            self.commands += bool(user) + bool(self._connection.db)
            await self._connection.connect()  # type: ignore[no-untyped-call]  # redis-py left it untyped
        self.commands += 1
        await self._connection.send_command(*command)
        return await self._connection.read_response()

    def _said(self, error: exceptions.RedisError, reason: RedisFailure) -> str:
        """Say what Redis said, why, and what would help."""
        if reason is RedisFailure.TIMED_OUT:
            # Who waits for an answer was let in: the server accepts, and hangs.
            return NO_CONNECTION if "connecting" in str(error) else HANGS
        words = why(error) if reason is RedisFailure.UNREACHABLE else str(error)
        return f"{ADVICE[reason]}: {words.rstrip('.')}{self._remedy(error)}"

    def _remedy(self, error: exceptions.RedisError) -> str:
        """Return what lets this user do what it may not, or what else would help; nothing, where nothing is known."""
        words = str(error)
        if forbidden := re.search(r"run the '([\w|]+)' command", words):
            return f": ACL SETUSER {self._connection.username or 'default'} +{forbidden[1]}"
        if unknown := re.search(r"[Uu]nknown command [`'\"]?(\w+)", words):
            name = unknown[1].upper()
            return (
                f": its configuration renamed or removed {name}: take the line rename-command {name} out of redis.conf,"
                " and limit users by ACL instead"
            )
        if "WRONGTYPE" in words:
            return (
                ": a key with the name of one of the queue's is no list, set or hash of BullMQ's: TYPE tells which of"
                " them it is; see `prefix` and `queue` of the collector, or remove that key"
            )
        return ""

    async def _disconnect(self) -> None:
        # It may be broken in any way, and is of no more use.
        with contextlib.suppress(exceptions.RedisError, OSError):
            await self._connection.disconnect(nowait=True)


def _connection(address: str) -> Connection:
    try:
        parts = urlsplit(address)
    except ValueError:  # a bracket: an IPv6 address that does not end, or a password
        raise _unreadable("a host of IPv6 stands in [brackets], and those of a password are %5B and %5D") from None
    try:
        _ = parts.port
    except ValueError:
        several = "," in parts.netloc.rpartition("@")[2]
        raise _unreadable(
            "it must name one host" if several else f"the port must be a number below 65536, and {ENCODE}"
        ) from None
    if "@" in f"{parts.path}{parts.query}{parts.fragment}":
        raise _unreadable(ENCODE)  # a piece of the password would be taken for the host
    if not re.fullmatch(r"/?|/[0-9]+", parts.path):
        raise _unreadable("what follows the host must be the number of a database, like /0")
    try:
        parameters: dict[str, Any] = dict(parse_url(address))
        sort = parameters.pop("connection_class", Connection)
        ours = {"socket_timeout": PATIENCE, "socket_connect_timeout": PATIENCE, "protocol": 2, "driver_info": None}
        made: Connection = sort(**{**parameters, **ours})
    except TypeError as error:
        unknown = re.search(r"keyword argument '(\w+)'", str(error))
        raise _unreadable(
            f"Redis knows no parameter {unknown[1]!r}: leave it out" if unknown else "its parameters are wrong"
        ) from None
    except (ValueError, exceptions.RedisError) as error:
        named = re.search(r"value for '(\w+)'", str(error))
        raise _unreadable(f"its parameter {named[1]!r} is wrong" if named else "its parameters are wrong") from None
    return made


def _unreadable(why: str) -> SettingsError:
    return SettingsError(f"shop.redis can't be read: {why}")
