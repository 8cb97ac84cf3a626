"""A fake of Upstash: it speaks RESP2, returns INFO as Upstash does, and counts billed commands."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.servers import free_port

INFO = """\
# Server
upstash_version:1.13.3
redis_version:6.2.6
redis_git_sha1:b8ef06c
redis_build_id:20250422
redis_mode:standalone

# Clients
connected_clients:1
maxclients:10000

# Memory
used_memory:1024
used_memory_human:1.000KB
maxmemory:67108864
maxmemory_human:64.000MB
maxmemory_policy:noeviction

# Persistence
total_keys:15
total_data_size:2048
total_data_size_human:2.000KB
max_data_size:268435456
max_data_size_human:256.000MB

# Stats
total_connections_received:50
total_commands_processed:1500
instantaneous_ops_per_sec:5
max_ops_per_sec:10000
evicted_clients:0
expired_keys:3
evicted_keys:0
keyspace_hits:350
keyspace_misses:85
total_reads_processed:800
total_writes_processed:200

# Keyspace
db0:keys=15,expires=5,avg_ttl=3600

# Cluster
cluster_enabled:0
local_member:10.16.8.4
""".replace("\n", "\r\n")
"""A real reply, recorded by others; server 1.13.3."""

QUOTA = "ERR max daily request limit exceeded. Limit: 500000, Usage: 500000."


class Upstash:
    """What it holds: ``trouble`` is answered to every command after AUTH; ``billed`` counts commands."""

    def __init__(self) -> None:
        self.port = free_port()
        self.password = "secret"
        self.error = ""
        self.replies: dict[str, bytes] = {}
        """What it replies to other commands."""
        self.billed: list[str] = []
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def address(self) -> str:
        return f"redis://default:{self.password}@127.0.0.1:{self.port}"

    async def hang_up(self) -> None:
        """Close idle connections, as it does."""
        for writer in list(self._writers):
            writer.close()
            await writer.wait_closed()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one client."""
        self._writers.add(writer)
        known = False
        try:
            while header := await reader.readline():
                words = []
                for _ in range(int(header[1:])):
                    length = int((await reader.readline())[1:])
                    words.append((await reader.readexactly(length + 2))[:-2].decode())
                self.billed.append(words[0].upper())
                if words[0].upper() == "AUTH":
                    known = words[1:] == ["default", self.password]
                writer.write(self.reply(known, words))
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    def reply(self, known: bool, words: list[str]) -> bytes:
        """Return the reply to one command."""
        command, *rest = words[0].upper(), *words[1:]
        if command == "AUTH":
            return b"+OK\r\n" if known else b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"
        if not known:
            return b"-NOAUTH Authentication required.\r\n"
        if self.error:
            return f"-{self.error}\r\n".encode()
        if command == "PING":
            return b"+PONG\r\n"
        if command == "DBSIZE":
            return b":15\r\n"
        if command == "INFO":
            # A section that it doesn't know is answered with its heading alone.
            section = rest[0] if rest else "default"
            text = INFO.encode() if section in {"all", "default"} else f"# {section.capitalize()}\r\n".encode()
            return b"$%d\r\n%s\r\n" % (len(text), text)
        if command == "CONFIG":
            return b"*0\r\n"
        if command in self.replies:
            return self.replies[command]
        return f"-ERR Command is not available: '{command}'\r\n".encode()


@asynccontextmanager
async def upstash() -> AsyncIterator[Upstash]:
    """Run the stand-in while the block lasts."""
    stand_in = Upstash()
    server = await asyncio.start_server(stand_in.serve, "127.0.0.1", stand_in.port)
    try:
        yield stand_in
    finally:
        server.close()
        await stand_in.hang_up()
        await server.wait_closed()
