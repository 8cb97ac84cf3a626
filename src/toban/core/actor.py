"""Who acts on toban: the principal of every command, and of every row of the audit log."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Actor:
    """
    A principal that authentication established, and the way by which it came; never a name that a request claims.

    ``via`` is ``local socket``, ``token``, ``loopback`` (no token is set), ``signal`` or ``toban``.
    """

    name: str
    via: str

    def __str__(self) -> str:
        return f"{self.name} ({self.via})"


ANONYMOUS: Final = Actor("anonymous", "loopback")
"""Whoever sends a request where no token is set: toban listens on loopback then."""

TOKEN_HOLDER: Final = Actor("web.token", "token")
"""Whoever shows the token of the settings."""

SIGNAL: Final = Actor("SIGHUP", "signal")
"""Whoever sent the process a signal; the system does not say who."""

TOBAN: Final = Actor("toban", "toban")
"""The process itself."""

DRILL: Final = Actor("drill", "toban")
"""The weekly drill."""
