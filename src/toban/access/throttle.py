"""Limits of sign-in attempts: by user, by address, and of all together. Nobody is locked out."""

import ipaddress
from dataclasses import dataclass
from typing import Final

FREE_FAILURES: Final = 5
"""Failures after which the next attempt has to wait."""
LONGEST_WAIT: Final = 60.0
"""Seconds."""
FORGOTTEN_AFTER: Final = 900.0
"""Seconds without a failure after which it starts anew."""
MOST_PER_MINUTE: Final = 60
"""Attempts of all users and addresses together."""
MAX_KEYS: Final = 10_000
"""Users and addresses that are kept."""


def network_of(address: str) -> str:
    """Return what counts as one client: an IPv4 address, the /64 of an IPv6 address."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)


@dataclass(frozen=True, slots=True)
class Failures:
    """The failures of one user or address, and when the last one was."""

    count: int
    last: float

    def wait(self, now: float) -> float:
        """Return the seconds until the next attempt is accepted."""
        if self.count < FREE_FAILURES:
            return 0.0
        delay = min(LONGEST_WAIT, 2.0 ** min(self.count - FREE_FAILURES, 10))
        return max(0.0, self.last + delay - now)


class SignInThrottle:
    """
    Counts attempts; ``now`` is in seconds on a clock that never jumps.

    After five failures the next attempt waits 1, 2, 4 … 60 seconds, for each user and for each address. An attempt
    counts as a failure when it begins, so that many at once are not all accepted.
    """

    def __init__(self) -> None:
        self._failures: dict[str, Failures] = {}
        self._minute = 0
        self._attempts = 0

    def wait(self, user: str, address: str, now: float, *, is_known: bool = False) -> float:
        """
        Return the seconds until an attempt is accepted, 0 for at once.

        ``is_known``: this user has a session from this address. Failures elsewhere do not concern it then, so that
        nobody can keep a user out from outside.
        """
        keys = [_address_key(address)] if is_known else [_address_key(address), _user_key(user)]
        waits = [found.wait(now) for key in keys if (found := self._of(key, now))]
        if not is_known and int(now // 60) == self._minute and self._attempts >= MOST_PER_MINUTE:
            waits.append((self._minute + 1) * 60 - now)
        return max(waits, default=0.0)

    def begin(self, user: str, address: str, now: float) -> None:
        """Count an attempt."""
        if int(now // 60) != self._minute:
            self._minute, self._attempts = int(now // 60), 0
        self._attempts += 1
        for key in (_address_key(address), _user_key(user)):
            before = self._of(key, now)
            self._failures.pop(key, None)  # those that failed last stand last
            self._failures[key] = Failures(before.count + 1 if before else 1, now)
        while len(self._failures) > MAX_KEYS:
            del self._failures[next(iter(self._failures))]

    def succeeded(self, user: str, address: str, now: float) -> None:
        """
        Forget the failures of a user, and that this attempt counted as one of its address.

        The other failures of the address stay: with an account of one's own nobody guesses the passwords of others.
        """
        self._failures.pop(_user_key(user), None)
        found = self._failures.get(key := _address_key(address))
        if found and found.count > 1:
            self._failures[key] = Failures(found.count - 1, now)
        else:
            self._failures.pop(key, None)

    def _of(self, key: str, now: float) -> Failures | None:
        found = self._failures.get(key)
        return found if found and now - found.last < FORGOTTEN_AFTER else None


def _user_key(user: str) -> str:
    return f"user {user[:200]}"


def _address_key(address: str) -> str:
    return f"address {network_of(address)}"
