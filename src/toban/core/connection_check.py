"""The result of trying a connection."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ConnectionCheck:
    """How far something could be tried without sending: whether that failed, and a sentence that says how far."""

    ok: bool
    message: str
