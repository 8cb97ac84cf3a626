"""Whether a web address can be reached, as far as that goes without sending anything."""

import asyncio
from urllib.parse import urlsplit

from toban.core.connection_check import ConnectionCheck
from toban.core.http_client import client_context, error_reason

PATIENCE = 5
"""Seconds."""


async def check_reachable(url: str, rest: str) -> ConnectionCheck:
    """Connect to an address's host, with TLS where it has it; ``rest`` says what that does not prove."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    context = await client_context() if parts.scheme == "https" else None
    try:
        async with asyncio.timeout(PATIENCE):
            _, writer = await asyncio.open_connection(host, port, ssl=context)
            writer.close()
    except TimeoutError:
        return ConnectionCheck(ok=False, message=f"{host} does not answer within {PATIENCE} s")
    except OSError as error:
        return ConnectionCheck(ok=False, message=f"{host} can't be reached: {error_reason(error)}")
    return ConnectionCheck(ok=True, message=f"{host} can be reached{' with TLS' if context else ''}; {rest}")
