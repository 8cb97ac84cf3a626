"""The collector `redis`: the shop's Redis, Valkey or Upstash server."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import ClassVar, Final, Literal, Protocol

from toban.collect.collector import Collector, Scraper, ScrapeResult
from toban.collect.collectors.redis.redis_info import RedisInfo, parse_info, parse_number
from toban.collect.tools import HasClock, HasShopRedis
from toban.core.samples import Sample, counter, gauge
from toban.shop.redis import KNOWN_AFTER, RedisError, RedisFailure

FIELDS: Final = {
    "connected_clients": gauge("redis_connected_clients", "Connected clients, toban included."),
    "maxclients": gauge("redis_clients_limit", "Maximum number of clients."),
    "blocked_clients": gauge("redis_blocked_clients", "Clients blocked by a blocking command (BLPOP, XREAD …)."),
    "used_memory": gauge("redis_memory_usage_bytes", "Memory used by data and buffers.", "bytes"),
    "used_memory_peak": gauge(
        "redis_memory_peak_bytes", "Peak memory used by data and buffers since the start.", "bytes"
    ),
    "used_memory_rss": gauge("redis_memory_resident_bytes", "Resident memory of the server.", "bytes"),
    "mem_fragmentation_ratio": gauge("redis_memory_fragmentation_ratio", "Resident memory divided by used memory."),
    "total_data_size": gauge("redis_data_size_bytes", "Size of the data on disk (Upstash).", "bytes"),
    "max_data_size": gauge("redis_data_size_limit_bytes", "Size at which writes are rejected (Upstash).", "bytes"),
    "total_connections_received": counter("redis_connections_received_total", "Accepted connections."),
    "rejected_connections": counter(
        "redis_rejected_connections_total", "Connections rejected because of too many clients."
    ),
    "total_error_replies": counter("redis_error_replies_total", "Commands that returned an error."),
    "expired_keys": counter("redis_expired_keys_total", "Expired keys."),
    "evicted_keys": counter("redis_evicted_keys_total", "Keys evicted because memory ran out."),
    "evicted_clients": counter("redis_evicted_clients_total", "Clients evicted because memory ran out."),
    "keyspace_hits": counter("redis_keyspace_hits_total", "Lookups of existing keys."),
    "keyspace_misses": counter("redis_keyspace_misses_total", "Lookups of missing keys."),
    "total_net_input_bytes": counter("redis_net_input_bytes_total", "Bytes received from clients.", "bytes"),
    "total_net_output_bytes": counter("redis_net_output_bytes_total", "Bytes sent to clients.", "bytes"),
    "uptime_in_seconds": gauge("redis_uptime_seconds", "Uptime of the server.", "seconds"),
    "loading": gauge("redis_loading", "Whether the server is loading its data from disk (1) or not (0)."),
    "rdb_changes_since_last_save": gauge("redis_changes_since_last_save", "Changes since the last save to disk."),
    "aof_enabled": gauge("redis_aof_enabled", "Whether the append-only file is enabled (1) or not (0)."),
    "connected_slaves": gauge("redis_connected_replicas", "Connected replicas."),
}
"""Numbers in INFO."""

STATES: Final = {
    ("role", "slave"): gauge("redis_replica", "Whether the server is a replica (1) or not (0)."),
    ("master_link_status", "up"): gauge("redis_replica_link_up", "Whether a replica's link is up (1) or not (0)."),
    ("rdb_last_bgsave_status", "ok"): gauge("redis_last_save_ok", "Whether the last save succeeded (1) or not (0)."),
    ("aof_last_write_status", "ok"): gauge(
        "redis_aof_ok", "Whether the last write to the append-only file succeeded (1) or not."
    ),
}
"""Words in INFO, and the word that counts as 1."""

LIMIT: Final = gauge("redis_memory_limit_bytes", "Memory limit; absent where there is none.", "bytes")
SAVED: Final = gauge("redis_last_save_age_seconds", "Time since the last save to disk.", "seconds")
LINK: Final = gauge(
    "redis_replica_last_contact_seconds", "Time since a replica last received data from its master.", "seconds"
)
BEHIND: Final = gauge("redis_replica_lag_bytes", "Bytes received by a replica and not applied yet.", "bytes")
KEYS: Final = gauge("redis_keyspace_keys", "Keys in a database.", labels=("db",))
EXPIRING: Final = gauge("redis_keyspace_expiring_keys", "Keys in a database that have an expiry.", labels=("db",))
PROCESSED: Final = counter(
    "redis_commands_processed_total",
    'Processed commands, by name; "all" where the server only counts them together.',
    labels=("command",),
)
FAILURES: Final = counter(
    "redis_commands_failed_total", "Commands that were rejected or failed, by name.", labels=("command",)
)
ERRORS: Final = counter("redis_errors_total", "Errors that commands returned, by class.", labels=("error",))
EXECUTION_SECONDS: Final = counter(
    "redis_command_seconds_total", "Execution time of commands, by name.", "seconds", labels=("command",)
)
INFO: Final = gauge(
    "redis_info", "Product, version and mode of the server; always 1.", labels=("product", "version", "mode")
)
FAILED: Final = gauge(
    "redis_connection_failed", "Why Redis could not be read: 1 for the reason, 0 for all others.", labels=("reason",)
)
OWN_COMMANDS: Final = counter("toban_redis_commands_total", "Commands that toban has sent to the shop's Redis.")

FAMILIES: Final = (
    *FIELDS.values(), *STATES.values(), LIMIT, SAVED, LINK, BEHIND, KEYS, EXPIRING, PROCESSED, FAILURES, ERRORS,
    EXECUTION_SECONDS, INFO, FAILED, OWN_COMMANDS,
)  # fmt: skip  # a table

REFUSED_WRITES: Final = ("OOM", "MISCONF", "READONLY", "NOREPLICAS")
"""Errors of a server that rejects writes; they are zero from the start, so that the first one is an increase."""

CLASSES: Final = frozenset(
    (*REFUSED_WRITES, "ERR", "LOADING", "BUSY", "NOAUTH", "WRONGPASS", "NOPERM", "WRONGTYPE", "NOSCRIPT", "EXECABORT")
) | {"CLUSTERDOWN", "MOVED", "ASK", "MASTERDOWN", "UNKILLABLE", "NOTREADY"}
"""Error classes with a label value; a script may invent others."""

COMMANDS: Final = 150
"""Commands with a label value of their own; later ones are counted under ``other``."""

UPSTASH_SECONDS: Final = 60
"""Upstash bills each command: the smallest interval of INFO there."""

UPSTASH: Final = ".upstash.io:"
"""Part of its addresses: before the first response they are all that is known."""


class Tools(HasClock, HasShopRedis, Protocol):
    """What the collector uses."""


class Redis(Collector):
    """
    Read the shop's Redis, Valkey or Upstash: clients, memory, keys, commands, persistence, replication.

    It sends one INFO to `shop.redis` per collection; to Upstash, which bills each command, at most one a minute. A user
    of its own needs only INFO: `ACL SETUSER toban on >… +info` (and `+select`, where the address names a database); for
    the shop's jobs see `bullmq`. Upstash uses memory as a cache in front of its disk: there,
    `redis_data_size_bytes` over `redis_data_size_limit_bytes` is what counts.
    """

    kind: Literal["redis"] = "redis"

    shop_part: ClassVar[Literal["redis"]] = "redis"

    def open(self, tools: Tools) -> Scraper:
        """Keep which commands have label values, and the last result of a server that bills commands."""
        return RedisScraper(self, tools)


class RedisScraper(Scraper):
    """Reads the server by INFO."""

    def __init__(self, collector: Redis, tools: Tools) -> None:
        self._interval = collector.interval
        self._clock = tools.clock
        self._redis = tools.shop_redis
        self._commands: set[str] = set()
        self._billed: tuple[float, ScrapeResult] | None = None

    async def collect(self) -> ScrapeResult:
        """Return the samples of one INFO."""
        redis, now = self._redis, self._clock.monotonic()
        # A few seconds of slack: what is due every minute is read at every second collection of 30 s, not every third.
        if self._billed and now - self._billed[0] < UPSTASH_SECONDS - 5:
            return self._billed[1]
        timeout = max(self._interval.total_seconds() / 2, KNOWN_AFTER)
        billed = self._billed is not None or UPSTASH in redis.address
        try:
            async with asyncio.timeout(timeout):
                # Raises `RedisError` also where this user may not read anything.
                text = await redis.execute("INFO", "all")
        except TimeoutError:
            message = f"redis {redis.address}: collection timed out after {timeout:g} s"
            result = self._failed(RedisFailure.TIMED_OUT, message)
        except RedisError as error:
            billed = billed or error.reason is RedisFailure.QUOTA_EXCEEDED
            result = self._failed(error.reason, str(error))
        else:
            info = parse_info(text.decode(errors="replace"))
            billed = info.product == "upstash"
            samples = [*info_samples(info, self._clock.now(), redis.database), *self.command_samples(info)]
            result = ScrapeResult([*samples, *failure_samples(None), OWN_COMMANDS.sample(redis.commands)])
        self._billed = (now, result) if billed else None
        return result

    def _failed(self, reason: RedisFailure, error: str) -> ScrapeResult:
        return ScrapeResult([*failure_samples(reason), OWN_COMMANDS.sample(self._redis.commands)], error=error)

    def command_samples(self, info: RedisInfo) -> Iterable[Sample]:
        """
        Return how often each command was processed.

        A command that once had its label value keeps it: were they chosen anew each time, `other` would fall now and
        then, and a counter that falls counts as reset.
        """
        if info.commands is None:
            total = info.number("total_commands_processed")
            return [] if total is None else [PROCESSED.sample(total, command="all")]
        commands = info.commands
        for name in sorted(commands, key=lambda name: _calls(commands[name]), reverse=True):
            if len(self._commands) < COMMANDS:
                self._commands.add(name)
        return by_command(commands, self._commands)


def info_samples(info: RedisInfo, now: datetime, database: str) -> Iterator[Sample]:
    """Yield the samples of an INFO; ``database`` is the one that the address names."""
    for name, family in FIELDS.items():
        if (value := info.number(name)) is not None:
            yield family.sample(value)
    for (name, good), family in STATES.items():
        if (value := info.state(name, good)) is not None:
            yield family.sample(value)
    yield from error_samples(info)
    # Upstash's memory is a cache in front of the disk: it is usually full.
    if info.product != "upstash" and (limit := info.number("maxmemory")):
        yield LIMIT.sample(limit)
    if saved := info.number("rdb_last_save_time"):
        yield SAVED.sample(max(0.0, now.timestamp() - saved))
    # -1: the link never was up.
    if (link := info.number("master_last_io_seconds_ago")) is not None and link >= 0:
        yield LINK.sample(link)
    received, applied = info.number("slave_read_repl_offset"), info.number("slave_repl_offset")
    if received is not None and applied is not None:
        yield BEHIND.sample(max(0.0, received - applied))
    if info.fields:
        yield INFO.sample(1, product=info.product, version=info.version, mode=info.mode)
        # A database without keys is not listed.
        for db, figures in {database: {"keys": "0", "expires": "0"}, **info.databases}.items():
            yield KEYS.sample(parse_number(figures.get("keys")) or 0, db=db)
            yield EXPIRING.sample(parse_number(figures.get("expires")) or 0, db=db)


def by_command(commands: Mapping[str, Mapping[str, str]], labelled: set[str]) -> Iterator[Sample]:
    """Yield the samples of commands; those without a label value of their own are ``other``."""
    totals = defaultdict[str, list[float]](lambda: [0.0, 0.0, 0.0])
    for name, figures in commands.items():
        failed = (parse_number(figures.get("rejected_calls")) or 0) + (parse_number(figures.get("failed_calls")) or 0)
        seconds = (parse_number(figures.get("usec")) or 0) / 1e6
        total = totals[name if name in labelled else "other"]
        total[:] = [sum(pair) for pair in zip(total, (_calls(figures), failed, seconds), strict=True)]
    for command, values in totals.items():
        for family, value in zip((PROCESSED, FAILURES, EXECUTION_SECONDS), values, strict=True):
            yield family.sample(value, command=command)


def error_samples(info: RedisInfo) -> Iterator[Sample]:
    """Yield how often commands returned an error, by class (Redis 6.2, Valkey)."""
    if "total_error_replies" not in info.fields:
        return
    found = dict.fromkeys(REFUSED_WRITES, 0.0)
    for name, value in info.fields.items():
        if name.startswith("errorstat_"):
            error = name.removeprefix("errorstat_")
            error = error if error in CLASSES else "other"
            found[error] = found.get(error, 0.0) + (parse_number(value.removeprefix("count=")) or 0)
    for error, count in found.items():
        yield ERRORS.sample(count, error=error)


def _calls(figures: Mapping[str, str]) -> float:
    """Return how often a command was processed."""
    return parse_number(figures.get("calls")) or 0


def failure_samples(failed: RedisFailure | None) -> Iterator[Sample]:
    """Yield a sample for each reason, so that an alert can tell them apart and resolves."""
    return (FAILED.sample(reason is failed, reason=reason.value) for reason in RedisFailure)
