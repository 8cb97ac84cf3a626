"""Who acts on toban: the principal of every command, and of every row of the audit log."""

from dataclasses import dataclass, field
from typing import Final


@dataclass(frozen=True, slots=True)
class Actor:
    """
    A principal that authentication established, and the way by which it came; never a name that a request claims.

    ``via`` is ``session``, ``API token``, ``local socket``, ``token``, ``loopback`` (nobody needs to sign in),
    ``signal``, ``slack``, ``pagerduty`` or ``toban``.
    """

    name: str
    via: str
    address: str = ""
    """The address that a request came from; empty for the local socket."""
    is_limited: bool = field(default=False, compare=False)
    """Whether it may only change what ends by itself within a day."""

    def __str__(self) -> str:
        return f"{self.name} ({self.via})"


ANONYMOUS: Final = Actor("anonymous", "loopback")
"""Whoever sends a request and shows no credentials."""

TOKEN_HOLDER: Final = Actor("web.token", "token")
"""Whoever shows the token of the settings."""

SIGNAL: Final = Actor("SIGHUP", "signal")
"""Whoever sent the process a signal; the system does not say who."""

TOBAN: Final = Actor("toban", "toban")
"""The process itself."""

DRILL: Final = Actor("drill", "toban")
"""The weekly drill."""

RUNBOOKS: Final = Actor("runbooks", "toban")
"""Whoever acts in a runbook; its row names who approved it."""

MAINTENANCE: Final = Actor("maintenance", "toban")
"""Whoever acts in a maintenance task; its row names who started it, where somebody did."""

FIXED: Final = (ANONYMOUS, TOKEN_HOLDER, SIGNAL, TOBAN, DRILL, RUNBOOKS, MAINTENANCE)
"""The principals that are no user; no user may have their names."""
