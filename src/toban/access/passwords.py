"""Passwords: argon2id hashes, computed one at a time in a thread."""

import asyncio
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, Final, TypeVar

from toban.core.errors import InvalidCommandError, TobanError
from toban.core.input_limits import checked_text

if TYPE_CHECKING:
    from argon2 import PasswordHasher

T = TypeVar("T")

SHORTEST: Final = 12
LONGEST: Final = 128
"""Characters."""

MEMORY_KIB: Final = 19_456
TIME_COST: Final = 2
PARALLELISM: Final = 1
"""The parameters of argon2id that OWASP's Password Storage Cheat Sheet gives as the minimum."""

UNKNOWN_USER: Final = (
    "$argon2id$v=19$m=19456,t=2,p=1$n8Nz+kbNuM85OSaNxxmxBQ$pnrE5I0oYKFtc3AXFky0NDK+ju8pyIvIRXnPDiTgdLQ"
)
"""A hash with these parameters; the password of an unknown user is compared to it."""

MAX_WAITING: Final = 5
"""How many hashes wait for the one that is computed: each takes 19 MB of memory and a fifth of a second."""

RETRY_AFTER: Final = 2
"""Seconds after which to retry when too many wait."""


class BusyError(TobanError):
    """Too many passwords are being verified already."""

    def __init__(self) -> None:
        super().__init__(f"too many passwords are being verified: retry in {RETRY_AFTER} seconds")


@cache
def _hasher() -> "PasswordHasher":
    # Imported when somebody signs in.
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=TIME_COST, memory_cost=MEMORY_KIB, parallelism=PARALLELISM)


def checked_password(text: str) -> str:
    """Return a new password, normalised to NFC. Raises ``InvalidCommandError``."""
    password = unicodedata.normalize("NFC", text)
    try:
        checked_text(password, LONGEST)
    except ValueError as error:
        raise InvalidCommandError(str(error), "password") from error
    if len(password) < SHORTEST:
        raise InvalidCommandError(f"has {len(password)} characters: at least {SHORTEST} are required", "password")
    return password


class Passwords:
    """
    Hashes and verifies passwords: one at a time, and at most five wait.

    That bounds the memory of many sign-ins at once. Verifying the password of an unknown user takes as long as that of
    a known one: it is compared to a hash that fits nobody.
    """

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="toban-password")
        self._running = 0

    @property
    def is_busy(self) -> bool:
        """Whether another one would be refused."""
        return self._running > MAX_WAITING

    async def hash(self, password: str) -> str:
        """Return the hash of a password. Raises ``BusyError``."""
        normalised = unicodedata.normalize("NFC", password)
        return await self._run(lambda: _hasher().hash(normalised))

    async def verify(self, stored: str, password: str) -> bool:
        """
        Tell whether a password is the one of a hash; an empty hash is that of an unknown user.

        Raises ``BusyError``.
        """
        normalised = unicodedata.normalize("NFC", password)
        is_possible = len(normalised) <= LONGEST and "\0" not in normalised
        attempt = normalised.encode(errors="replace") if is_possible else b""

        def work() -> bool:
            from argon2.exceptions import InvalidHashError, VerificationError

            try:
                return _hasher().verify(stored or UNKNOWN_USER, attempt)
            except (VerificationError, InvalidHashError):
                return False

        return await self._run(work) and is_possible and bool(stored)

    def needs_rehash(self, stored: str) -> bool:
        """Tell whether a hash was made with other parameters than today's."""
        return _hasher().check_needs_rehash(stored)

    def close(self) -> None:
        """End the thread; what runs is finished, what waits is not."""
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _run(self, work: Callable[[], T]) -> T:
        if self.is_busy:
            raise BusyError
        self._running += 1
        future = asyncio.get_running_loop().run_in_executor(self._thread, work)
        future.add_done_callback(self._finished)
        # A client that disconnects does not make room for another: the hash is still being computed.
        return await asyncio.shield(future)

    def _finished(self, future: "asyncio.Future[T]") -> None:
        self._running -= 1
        if not future.cancelled():
            future.exception()  # so that one that nobody waits for any more is not logged
