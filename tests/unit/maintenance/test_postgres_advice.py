"""What is wrong with the settings and the tables of a PostgreSQL, from what it says of itself."""

from typing import Any

import pytest

from toban.maintenance.postgres_advice import missing_indexes, server_settings, vacuum_scale

GIB = 2**30
SETTINGS = {
    "shared_buffers": 1.0 * GIB,
    "work_mem": 4.0 * 2**20,
    "max_connections": 100.0,
    "random_page_cost": 1.1,
    "max_wal_size": 1.0 * GIB,
}
SERVER = {"bytes": 5 * GIB, "hits": 999_000, "reads": 1_000, "connections": 20, "timed": 100, "requested": 3}
MEMORY = 4 * GIB
TABLE = {"schema": "public", "name": "order_line", "scans": 500, "read": 10**8, "index_scans": 100, "live": 200_000}


def found(settings: dict[str, float], server: dict[str, Any], memory: int | None = MEMORY) -> list[str]:
    return [it.name for it in server_settings({**SETTINGS, **settings}, {**SERVER, **server}, memory)]


def test_settings_that_fit_are_not_mentioned():
    assert found({}, {}) == []
    assert found({}, {}, None) == []


@pytest.mark.parametrize(
    ("settings", "server", "memory", "name"),
    [
        ({"shared_buffers": 128 * 2**20}, {}, MEMORY, "shared_buffers"),
        ({"shared_buffers": 128 * 2**20}, {"hits": 900, "reads": 100}, None, "shared_buffers"),
        ({"work_mem": 64 * 2**20}, {}, MEMORY, "work_mem"),
        ({}, {"connections": 85}, MEMORY, "max_connections"),
        ({"max_connections": 500, "work_mem": 2**20}, {}, MEMORY, "max_connections"),
        ({"random_page_cost": 4}, {}, MEMORY, "random_page_cost"),
        ({}, {"requested": 60}, MEMORY, "max_wal_size"),
    ],
)
def test_what_does_not_fit_is_named(settings: dict[str, float], server: dict[str, Any], memory: int | None, name: str):
    assert found(settings, server, memory) == [name]


def test_a_small_database_needs_no_larger_buffers_and_few_checkpoints_say_nothing():
    assert found({"shared_buffers": 128 * 2**20}, {"bytes": 2**20}) == []
    assert found({}, {"timed": 2, "requested": 8}) == []


def test_the_statements_for_a_person_are_ones_that_postgresql_takes():
    (finding,) = server_settings(SETTINGS, {**SERVER, "requested": 60}, MEMORY)
    assert finding.remedy == "ALTER SYSTEM SET max_wal_size = '2GB'"


@pytest.mark.parametrize("change", [{"live": 1_000}, {"scans": 10}, {"read": 10_000}, {"index_scans": 10**6}])
def test_a_table_that_is_small_or_rarely_read_whole_needs_no_index(change: dict[str, int]):
    assert list(missing_indexes([TABLE], []))
    assert not list(missing_indexes([{**TABLE, **change}], []))


def test_the_slowest_statement_on_the_table_is_named_redacted_and_short():
    text = "SELECT * FROM order_line WHERE note = 'ann@example.com' " + "x " * 5_000
    (finding,) = missing_indexes([TABLE], [{"query": text, "calls": 12, "mean": 345.6}])
    assert "12 calls, 346 ms each: SELECT * FROM order_line" in finding.text
    assert "ann@" not in finding.text
    assert len(finding.text) < 500


def test_big_tables_are_vacuumed_at_a_share_of_their_own():
    big = {"schema": "public", "name": "order", "live": 5_000_000, "scale": None}
    (finding,) = vacuum_scale([big, {**big, "live": 1_000}, {**big, "scale": 0.02}], 0.2)
    assert "vacuumed when 20% of its 5,000,000 rows are dead: 1,000,000" in finding.text
    assert finding.remedy == 'ALTER TABLE "public"."order" SET (autovacuum_vacuum_scale_factor = 0.02)'
