"""What all of toban's requests to Fly.io have in common."""

from typing import Final

MACHINES_API: Final = "https://api.machines.dev"
"""The address of the Machines API: https://fly.io/docs/machines/api/."""


def authorization(token: str) -> str:
    """Return the header for a token: macaroons have the scheme FlyV1, with or without saying so."""
    if token.startswith("FlyV1 "):
        return token
    return f"FlyV1 {token}" if token.startswith("fm") else f"Bearer {token}"
