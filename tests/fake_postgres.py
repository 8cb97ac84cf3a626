"""
A PostgreSQL that refuses every session, in another language and with its code.

    async with refusing("53300", "接続数が多すぎます") as port: ...

Real servers with such messages need locales that the wheel lacks.
"""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

TLS_WANTED: Final = (80877103, 80877104)
"""The requests before a session: whether the server supports TLS, or GSSAPI."""


@asynccontextmanager
async def refusing(code: str, words: str, severity: str = "致命的エラー") -> AsyncIterator[int]:
    """Refuse every session on a port of the loopback."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                size, version = struct.unpack("!II", await reader.readexactly(8))
                await reader.readexactly(size - 8)
                if version not in TLS_WANTED:
                    break
                writer.write(b"N")
            fields = (f"S{severity}", "VFATAL", f"C{code}", f"M{words}", "")
            data = b"".join(field.encode() + b"\0" for field in fields)
            writer.write(b"E" + struct.pack("!I", len(data) + 4) + data)
            await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # whoever asked went away
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()
