"""What somebody may do: permissions, and the roles that grant them."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final


class Permission(StrEnum):
    """What a route requires, and an API token is limited to."""

    PUBLIC = "public"
    """Nothing: anybody may use it, and sees names and states but no details."""
    READ = "read"
    """Seeing samples, alerts, settings."""
    LOGS = "logs"
    """Seeing log lines: they are redacted, and yet a shop may write into them what concerns its customers."""
    PUSH = "push"
    """Sending telemetry, events, samples, and alerts that were evaluated elsewhere."""
    ACT = "act"
    """Changing something: silences for up to a day, acknowledgements, test notifications, drills."""
    CONFIGURE = "configure"
    """Reloading the settings, longer silences, and deleting rows of state that can't be read."""
    ADMIN = "admin"
    """Changing who may use toban (users, their sessions, API tokens), and the limits of rules in its configuration."""


class Role(StrEnum):
    """What a user may do."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    @property
    def permissions(self) -> frozenset[Permission]:
        """The permissions that it grants."""
        return _GRANTED[self]


PUBLIC: Final = frozenset({Permission.PUBLIC})
EVERYTHING: Final = frozenset(Permission)
MACHINE: Final = EVERYTHING - {Permission.ADMIN}
"""What the token of the settings grants: many programs hold it, and none of them may let somebody else in."""

_VIEWER: Final = PUBLIC | {Permission.READ}
_GRANTED: Final[Mapping[Role, frozenset[Permission]]] = {
    Role.VIEWER: _VIEWER,
    Role.OPERATOR: _VIEWER | {Permission.LOGS, Permission.ACT},
    Role.ADMIN: EVERYTHING,
}
