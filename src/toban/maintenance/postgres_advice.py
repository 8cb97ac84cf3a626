"""What to change in the settings of a PostgreSQL, and where an index may be missing. Pure: rows in, findings out."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from toban.core.number_format import format_bytes
from toban.core.redaction import redact_text
from toban.maintenance.task import Finding, Severity

LARGE_ROWS: Final = 100_000
"""Rows from which reading a whole table is slow."""
LEAST_SCANS: Final = 100
BIG_ROWS: Final = 1_000_000
"""Rows from which the default share of dead rows is too many before a vacuum."""
HIT_RATIO: Final = 0.99
REQUESTED_SHARE: Final = 0.2
"""The share of checkpoints that came too early because the WAL was full."""
LEAST_CHECKPOINTS: Final = 20
MAX_TEXT: Final = 300
MIB: Final = 2**20


def missing_indexes(tables: Sequence[Mapping[str, Any]], statements: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Yield the large tables that are read whole again and again, each with the slowest statement on it."""
    for it in tables:
        scans, read, live = it["scans"], it["read"], it["live"]
        if live < LARGE_ROWS or scans < LEAST_SCANS or read < scans * live / 2 or scans <= it["index_scans"] / 10:
            continue
        text = f"{scans:,} times all of its {live:,} rows were read, {it['index_scans']:,} times an index"
        statement = next((one for one in statements if it["name"] in one["query"]), None)
        remedy = "find its statements in pg_stat_statements, and look at them by EXPLAIN"
        if statement:
            query = " ".join(redact_text(statement["query"][: 10 * MAX_TEXT]).split())[:MAX_TEXT]
            text += f"; {statement['calls']:,} calls, {statement['mean']:.0f} ms each: {query}"
            remedy = "EXPLAIN (GENERIC_PLAN) this statement: a column of its WHERE may need an index"
        yield Finding(f"sequential scans of {it['name']}", text, Severity.WARNING, remedy)


def vacuum_scale(tables: Iterable[Mapping[str, Any]], default: float) -> Iterator[Finding]:
    """Yield the big tables that are vacuumed only when very many rows are dead."""
    for it in tables:
        scale = default if it["scale"] is None else it["scale"]
        if it["live"] < BIG_ROWS or scale < 0.1:
            continue
        text = f"it is vacuumed when {scale:.0%} of its {it['live']:,} rows are dead: {round(scale * it['live']):,}"
        yield Finding(
            f"autovacuum of {it['name']}",
            text,
            Severity.INFO,
            f'ALTER TABLE "{it["schema"]}"."{it["name"]}" SET (autovacuum_vacuum_scale_factor = 0.02)',
        )


def server_settings(settings: Mapping[str, float], server: Mapping[str, Any], memory: int | None) -> Iterator[Finding]:
    """
    Yield what is wrong with the settings of the server.

    ``settings`` are numbers, sizes in bytes; ``server`` has ``bytes`` of the database, ``hits`` and ``reads`` of
    blocks, ``connections`` now, ``timed`` and ``requested`` checkpoints; ``memory`` is that of its machine, where it is
    known.
    """
    yield from _memory(settings, server, memory)
    yield from _connections(settings, server)
    if settings["random_page_cost"] > 2:
        text = f"random_page_cost is {settings['random_page_cost']:g}, as for a turning disk: indexes look expensive"
        yield Finding("random_page_cost", text, Severity.INFO, "on an SSD: ALTER SYSTEM SET random_page_cost = 1.1")
    checkpoints = server["timed"] + server["requested"]
    if checkpoints >= LEAST_CHECKPOINTS and server["requested"] > REQUESTED_SHARE * checkpoints:
        text = (
            f"{server['requested']:,} of {checkpoints:,} checkpoints came early because max_wal_size "
            f"({format_bytes(settings['max_wal_size'])}) was reached: pages are written whole more often"
        )
        more = format_bytes(2 * settings["max_wal_size"]).replace("iB", "B").replace(" ", "")
        yield Finding("max_wal_size", text, Severity.INFO, f"ALTER SYSTEM SET max_wal_size = '{more}'")


def _memory(settings: Mapping[str, float], server: Mapping[str, Any], memory: int | None) -> Iterator[Finding]:
    buffers, database = settings["shared_buffers"], server["bytes"]
    read = server["hits"] + server["reads"]
    ratio = server["hits"] / read if read else 1.0
    if memory and buffers < memory / 8 and database > buffers:
        text = (
            f"shared_buffers is {format_bytes(buffers)} on a machine with {format_bytes(memory)}; the database has "
            f"{format_bytes(database)}, and {ratio:.1%} of its blocks are found in memory"
        )
        yield Finding("shared_buffers", text, Severity.INFO, f"ALTER SYSTEM SET shared_buffers = '{_quarter(memory)}'")
    elif not memory and ratio < HIT_RATIO and database > buffers:
        text = (
            f"{ratio:.1%} of blocks are found in shared_buffers ({format_bytes(buffers)}); the database has "
            f"{format_bytes(database)}"
        )
        yield Finding("shared_buffers", text, Severity.INFO, "set it to a quarter of the machine's memory")
    could = settings["work_mem"] * settings["max_connections"]
    if memory and could + buffers > memory:
        text = (
            f"work_mem ({format_bytes(settings['work_mem'])}) for each of {settings['max_connections']:.0f} connections"
            f" and shared_buffers are {format_bytes(could + buffers)}, more than the machine's {format_bytes(memory)}"
        )
        yield Finding("work_mem", text, Severity.WARNING, "lower max_connections, or work_mem")


def _connections(settings: Mapping[str, float], server: Mapping[str, Any]) -> Iterator[Finding]:
    most, used = settings["max_connections"], server["connections"]
    if used > 0.8 * most:
        text = f"{used} of {most:.0f} connections are in use"
        remedy = "make the shop's pools smaller, or use a pooler; raising max_connections costs memory for each"
        yield Finding("max_connections", text, Severity.WARNING, remedy)
    elif most > 400:
        text = f"max_connections is {most:.0f}, and {used} are in use: each idle one costs memory and snapshots"
        yield Finding("max_connections", text, Severity.INFO, "use a pooler, and lower it")


def _quarter(memory: int) -> str:
    return f"{round(memory / 4 / MIB)}MB"
