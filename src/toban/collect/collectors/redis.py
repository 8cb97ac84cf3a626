"""The shop's Redis."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Final, Literal

from pydantic import PrivateAttr

from toban.collect.collector import Collector, ScrapeResult
from toban.collect.redis_info import RedisInfo, parse_info, parse_number
from toban.collect.tools import CollectorTools
from toban.core.errors import CollectError
from toban.core.samples import Sample, counter, gauge
from toban.shop.connections import ShopConnections
from toban.shop.redis import KNOWN_AFTER, RedisError, RedisFailure
from toban.shop.redis import ShopRedis as Connection

FIELDS: Final = {
    "connected_clients": gauge("redis_connected_clients", "Clients that are connected, toban included."),
    "maxclients": gauge("redis_clients_limit", "Clients that may be connected."),
    "blocked_clients": gauge("redis_blocked_clients", "Clients that wait for something to come into a list or stream."),
    "used_memory": gauge("redis_memory_usage_bytes", "Memory that its data and buffers take.", "bytes"),
    "used_memory_peak": gauge("redis_memory_peak_bytes", "The most memory that they took since its start.", "bytes"),
    "used_memory_rss": gauge("redis_memory_resident_bytes", "Memory that the system gave it.", "bytes"),
    "mem_fragmentation_ratio": gauge("redis_memory_fragmentation_ratio", "Memory given to it over memory it uses."),
    "total_data_size": gauge("redis_data_size_bytes", "Size of the data on disk (Upstash).", "bytes"),
    "max_data_size": gauge("redis_data_size_limit_bytes", "Size at which writes are refused (Upstash).", "bytes"),
    "total_connections_received": counter("redis_connections_received_total", "Connections that it accepted."),
    "rejected_connections": counter("redis_rejected_connections_total", "Connections refused: too many clients."),
    "total_error_replies": counter("redis_error_replies_total", "Commands that were answered with an error."),
    "expired_keys": counter("redis_expired_keys_total", "Keys whose time was over."),
    "evicted_keys": counter("redis_evicted_keys_total", "Keys that were dropped for want of memory."),
    "evicted_clients": counter("redis_evicted_clients_total", "Clients that were dropped for want of memory."),
    "keyspace_hits": counter("redis_keyspace_hits_total", "Reads of a key that was there."),
    "keyspace_misses": counter("redis_keyspace_misses_total", "Reads of a key that was not there."),
    "total_net_input_bytes": counter("redis_net_input_bytes_total", "Bytes that clients sent.", "bytes"),
    "total_net_output_bytes": counter("redis_net_output_bytes_total", "Bytes that were sent to clients.", "bytes"),
    "uptime_in_seconds": gauge("redis_uptime_seconds", "How long it has been running.", "seconds"),
    "loading": gauge("redis_loading", "Whether it is reading its data from disk (1) or not (0)."),
    "rdb_changes_since_last_save": gauge("redis_changes_since_last_save", "Changes since the last save to disk."),
    "aof_enabled": gauge("redis_aof_enabled", "Whether every write is also written to a file (1) or not (0)."),
    "connected_slaves": gauge("redis_connected_replicas", "Replicas that follow it."),
}
"""What is a number of its own in INFO."""

STATES: Final = {
    ("role", "slave"): gauge("redis_replica", "Whether it follows another server (1) or not (0)."),
    ("master_link_status", "up"): gauge("redis_replica_link_up", "Whether a replica's link is up (1) or not (0)."),
    ("rdb_last_bgsave_status", "ok"): gauge("redis_last_save_ok", "Whether the last save went well (1) or not (0)."),
    ("aof_last_write_status", "ok"): gauge("redis_aof_ok", "Whether the last write to its file went well (1) or not."),
}
"""What is a word in INFO, and the word that counts as 1."""

LIMIT: Final = gauge("redis_memory_limit_bytes", "Memory that it may use; absent where nothing limits it.", "bytes")
SAVED: Final = gauge("redis_last_save_age_seconds", "How long ago its data was last saved to disk.", "seconds")
LINK: Final = gauge("redis_replica_last_contact_seconds", "How long ago a replica last heard its master.", "seconds")
BEHIND: Final = gauge("redis_replica_lag_bytes", "How much a replica has yet to apply of what it knows of.", "bytes")
KEYS: Final = gauge("redis_keyspace_keys", "Keys in a database.")
EXPIRING: Final = gauge("redis_keyspace_expiring_keys", "Keys in a database whose time will be over.")
PROCESSED: Final = counter(
    "redis_commands_processed_total", 'Commands processed, by name; "all" where the server does not tell them apart.'
)
FAULTS: Final = counter("redis_commands_failed_total", "Commands that were refused or failed, by name.")
ERRORS: Final = counter("redis_errors_total", "Errors that commands were answered with, by their class.")
SPENT: Final = counter("redis_command_seconds_total", "Time that commands took in the server, by name.", "seconds")
ABOUT: Final = gauge("redis_info", "Which server it is; always 1.")
FAILED: Final = gauge(
    "redis_connection_failed", "Why Redis could not be looked at: 1 for the reason, 0 for all others."
)
OURS: Final = counter("toban_redis_commands_total", "Commands that toban itself has sent to the shop's Redis.")

FAMILIES: Final = (
    *FIELDS.values(), *STATES.values(), LIMIT, SAVED, LINK, BEHIND, KEYS, EXPIRING, PROCESSED, FAULTS, ERRORS, SPENT,
    ABOUT, FAILED, OURS,
)  # fmt: skip  # one line a metric says no more

REFUSED_WRITES: Final = ("OOM", "MISCONF", "READONLY", "NOREPLICAS")
"""The errors by which a server refuses to write; told from the beginning, so that the first one is seen."""

CLASSES: Final = frozenset(
    (*REFUSED_WRITES, "ERR", "LOADING", "BUSY", "NOAUTH", "WRONGPASS", "NOPERM", "WRONGTYPE", "NOSCRIPT", "EXECABORT")
) | {"CLUSTERDOWN", "MOVED", "ASK", "MASTERDOWN", "UNKILLABLE", "NOTREADY"}
"""The errors that are told apart; a script may make up others."""

COMMANDS: Final = 150
"""How many commands are told apart; what comes later is counted under ``other``."""

UPSTASH_SECONDS: Final = 60
"""Upstash bills each command: it is asked no more often than this."""

UPSTASH: Final = ".upstash.io:"
"""What tells its addresses, before it has answered for the first time."""


class Redis(Collector):
    """
    Read how the shop's Redis, Valkey or Upstash is: clients, memory, keys, commands, persistence, replication.

    It looks at `shop.redis` with one INFO a look; Upstash, which bills each command, is asked at most once a minute.
    A user of its own wants no more than INFO: `ACL SETUSER toban on >… +info` (and `+select`, where the address names
    a database); for the shop's jobs see `bullmq`. Upstash keeps memory as a cache in
    front of its disk: there, `redis_data_size_bytes` over `redis_data_size_limit_bytes` is what counts.
    """

    kind: Literal["redis"] = "redis"

    _commands: set[str] = PrivateAttr(default_factory=set)
    _billed: tuple[float, ScrapeResult] | None = PrivateAttr(default=None)

    def address_in(self, shop: ShopConnections) -> str:
        """Return where the server is."""
        return shop.redis.address if shop.redis else ""

    async def collect(self, tools: CollectorTools) -> ScrapeResult:
        """Return what one INFO tells."""
        redis = tools.shop.redis
        if redis is None:
            raise CollectError(f"{self.name}: there is no shop.redis to look at")
        now = tools.clock.monotonic()
        # A few seconds of slack: what is due each minute is asked at every second look of 30 s, not at every third.
        if self._billed and now - self._billed[0] < UPSTASH_SECONDS - 5:
            return self._billed[1]
        patience = max(self.interval.total_seconds() / 2, KNOWN_AFTER)
        billed = self._billed is not None or UPSTASH in redis.address
        try:
            async with asyncio.timeout(patience):
                info = await self._info(redis)
        except TimeoutError:
            trouble = f"redis {redis.address}: no end of the look after {patience:g} s"
            look = ScrapeResult([*reasons(RedisFailure.TIMED_OUT), OURS.sample(redis.commands)], error=trouble)
        except RedisError as error:
            billed = billed or error.reason is RedisFailure.QUOTA_EXCEEDED
            look = ScrapeResult([*reasons(error.reason), OURS.sample(redis.commands)], error=str(error))
        else:
            billed = info.product == "upstash"
            samples = [*said(info, tools.clock.now(), redis.database), *self._by_command(info)]
            look = ScrapeResult([*samples, *reasons(None), OURS.sample(redis.commands)])
        self._billed = (now, look) if billed else None
        return look

    async def _info(self, redis: Connection) -> RedisInfo:
        """Ask for everything at once. Raises ``RedisError``, also where this user may see nothing."""
        text = await redis.ask("INFO", "all")
        return parse_info(text.decode(errors="replace"))

    def _by_command(self, info: RedisInfo) -> Iterable[Sample]:
        """
        Return how often each command was processed.

        A command that was once told apart stays so: were they chosen anew each time, `other` would shrink now and
        then, and a counter that shrinks counts as begun again.
        """
        if info.commands is None:
            total = info.number("total_commands_processed")
            return [] if total is None else [PROCESSED.sample(total, command="all")]
        commands = info.commands
        for name in sorted(commands, key=lambda name: calls(commands[name]), reverse=True):
            if len(self._commands) < COMMANDS:
                self._commands.add(name)
        return by_command(commands, self._commands)


def said(info: RedisInfo, now: datetime, database: str) -> Iterator[Sample]:
    """Return the numbers in an INFO, for which it is now and which is of a client of this database."""
    for name, family in FIELDS.items():
        if (value := info.number(name)) is not None:
            yield family.sample(value)
    for (name, well), family in STATES.items():
        if (value := info.state(name, well)) is not None:
            yield family.sample(value)
    yield from errors(info)
    # To Upstash memory is a cache in front of the disk: full is its ordinary state there.
    if info.product != "upstash" and (limit := info.number("maxmemory")):
        yield LIMIT.sample(limit)
    if saved := info.number("rdb_last_save_time"):
        yield SAVED.sample(max(0.0, now.timestamp() - saved))
    # -1 says that the link never was up.
    if (link := info.number("master_last_io_seconds_ago")) is not None and link >= 0:
        yield LINK.sample(link)
    known, applied = info.number("slave_read_repl_offset"), info.number("slave_repl_offset")
    if known is not None and applied is not None:
        yield BEHIND.sample(max(0.0, known - applied))
    if info.fields:
        yield ABOUT.sample(1, product=info.product, version=info.version, mode=info.mode)
        # A database without keys is not listed.
        for db, held in {database: {"keys": "0", "expires": "0"}, **info.databases}.items():
            yield KEYS.sample(parse_number(held.get("keys")) or 0, db=db)
            yield EXPIRING.sample(parse_number(held.get("expires")) or 0, db=db)


def by_command(commands: Mapping[str, Mapping[str, str]], apart: set[str]) -> Iterator[Sample]:
    """Return the commands' figures; those that are not told apart are ``other``."""
    figures = defaultdict[str, list[float]](lambda: [0.0, 0.0, 0.0])
    for name, held in commands.items():
        failed = (parse_number(held.get("rejected_calls")) or 0) + (parse_number(held.get("failed_calls")) or 0)
        spent = (parse_number(held.get("usec")) or 0) / 1e6
        so_far = figures[name if name in apart else "other"]
        so_far[:] = [sum(pair) for pair in zip(so_far, (calls(held), failed, spent), strict=True)]
    for command, values in figures.items():
        for family, value in zip((PROCESSED, FAULTS, SPENT), values, strict=True):
            yield family.sample(value, command=command)


def errors(info: RedisInfo) -> Iterator[Sample]:
    """Return how often commands were answered with an error, by its class (Redis 6.2, Valkey)."""
    if "total_error_replies" not in info.fields:
        return
    found = dict.fromkeys(REFUSED_WRITES, 0.0)
    for name, held in info.fields.items():
        if name.startswith("errorstat_"):
            error = name.removeprefix("errorstat_")
            error = error if error in CLASSES else "other"
            found[error] = found.get(error, 0.0) + (parse_number(held.removeprefix("count=")) or 0)
    for error, many in found.items():
        yield ERRORS.sample(many, error=error)


def calls(held: Mapping[str, str]) -> float:
    """Return how often a command was processed."""
    return parse_number(held.get("calls")) or 0


def reasons(failed: RedisFailure | None) -> Iterator[Sample]:
    """Say for each reason whether it is the one, so that an alert can tell them apart and sees each end."""
    return (FAILED.sample(reason is failed, reason=reason.value) for reason in RedisFailure)
