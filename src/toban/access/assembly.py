"""Assembles access: the service and its commands."""

from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from toban.access.oidc import PendingSignIns
from toban.access.passkey_commands import PasskeyCommands
from toban.access.passwords import Passwords
from toban.access.service import AccessService
from toban.access.sign_in_commands import SignInCommands
from toban.access.throttle import SignInThrottle
from toban.access.token_commands import TokenCommands
from toban.access.user_commands import UserCommands
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock
from toban.state.database import State


@dataclass(frozen=True, slots=True)
class Access:
    """The service, and the commands that change who may use toban."""

    service: AccessService
    users: UserCommands
    tokens: TokenCommands
    sign_in: SignInCommands
    passkeys: PasskeyCommands
    pending: PendingSignIns
    """Sign-ins that were begun at an OpenID Connect provider."""


async def open_access(
    stack: AsyncExitStack, state: State, folder: Path, clock: Clock, meters: MetricRegistry
) -> Access:
    """Load users, sessions and API tokens; ``folder`` is the data folder."""
    service, passwords, throttle = AccessService(state, folder, clock, meters), Passwords(), SignInThrottle()
    stack.callback(passwords.close)
    await service.open()
    return Access(
        service,
        UserCommands(service, passwords, clock),
        TokenCommands(service, clock),
        SignInCommands(service, passwords, clock, meters, throttle),
        PasskeyCommands(service, throttle, clock, meters),
        PendingSignIns(clock),
    )
