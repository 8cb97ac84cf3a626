"""INFO: as Redis, Valkey and Upstash write it."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.integration.scraping import collector_tools
from tests.upstash import INFO
from toban.collect.collectors.redis.redis import COMMANDS, Redis, RedisScraper, by_command, info_samples
from toban.collect.collectors.redis.redis_info import RedisInfo, parse_info

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def numbers(info: RedisInfo) -> dict[str, float]:
    return {sample.family.name: sample.value for sample in info_samples(info, NOW, "db0")}


@pytest.mark.parametrize(
    ("text", "product", "version", "mode"),
    [
        ("redis_version:7.0.15\r\nredis_mode:standalone", "redis", "7.0.15", "standalone"),
        (
            "redis_version:7.2.4\nserver_name:valkey\nvalkey_version:9.1.2\nserver_mode:cluster",
            "valkey",
            "9.1.2",
            "cluster",
        ),
        (INFO, "upstash", "1.13.3", "standalone"),
        ("", "redis", "", ""),
    ],
)
def test_the_product_is_recognised(text: str, product: str, version: str, mode: str) -> None:
    """
    Valkey and Upstash say which Redis they are compatible with: that is not what they are.
    """
    info = parse_info(text)
    assert (info.product, info.version, info.mode) == (product, version, mode)


def test_commands_and_databases_are_parsed() -> None:
    """
    Command names are lower case; the fields of a database and a command are told apart by their names.
    """
    info = parse_info(
        "# Commandstats\r\ncmdstat_GET:calls=2,usec=1500000,usec_per_call=1.5,rejected_calls=1,failed_calls=2\r\n"
        "cmdstat_config|get:calls=1,usec=5\r\n# Keyspace\r\ndb0:keys=3,expires=1,avg_ttl=0\r\n"
    )
    found = [
        (s.family.name, s.labels["command"], s.value) for s in by_command(info.commands or {}, {"get", "config|get"})
    ]
    assert found == [
        ("redis_commands_processed_total", "get", 2),
        ("redis_commands_failed_total", "get", 3),
        ("redis_command_seconds_total", "get", 1.5),
        ("redis_commands_processed_total", "config|get", 1),
        ("redis_commands_failed_total", "config|get", 0),
        ("redis_command_seconds_total", "config|get", 0.000005),
    ]
    assert info.databases == {"db0": {"keys": "3", "expires": "1", "avg_ttl": "0"}}


@given(st.dictionaries(st.from_regex(r"[a-z]{1,8}", fullmatch=True), st.integers(0, 10**9)), st.sets(st.text()))
def test_commands_over_the_limit_count_as_other(calls: dict[str, int], apart: set[str]) -> None:
    """
    However many commands are told apart, all calls are counted, each once.
    """
    commands = {name: {"calls": str(many)} for name, many in calls.items()}
    counted = [s for s in by_command(commands, apart) if s.family.name == "redis_commands_processed_total"]
    assert sum(sample.value for sample in counted) == sum(calls.values())
    assert {sample.labels["command"] for sample in counted} <= apart | {"other"}


async def test_command_keeps_its_label_value() -> None:
    """
    Over the limit new commands are counted under `other`, so that no counter falls.
    """
    before = "".join(f"cmdstat_c{number}:calls={number}\n" for number in range(COMMANDS + 10))
    after = before + "cmdstat_busy:calls=1000000\n"
    async with collector_tools(redis="redis://127.0.0.1:1") as tools:
        scraper = RedisScraper(Redis(), tools)
    first, second = (
        {s.labels["command"]: s.value for s in scraper.command_samples(parse_info(f"# Commandstats\n{text}"))}
        for text in (before, after)
    )
    assert set(first) == set(second)
    assert len(first) == COMMANDS + 1


def test_missing_fields_have_no_samples() -> None:
    """
    Every field is optional; what is missing, none, or unlimited makes no number.
    """
    assert numbers(parse_info("")) == {}
    assert "redis_memory_limit_bytes" not in numbers(parse_info("maxmemory:0"))
    assert numbers(parse_info("maxmemory:1024"))["redis_memory_limit_bytes"] == 1024
    assert "redis_memory_limit_bytes" not in numbers(parse_info(INFO))
    assert "redis_replica_last_contact_seconds" not in numbers(parse_info("master_last_io_seconds_ago:-1"))
    assert numbers(parse_info("used_memory:much")) == {
        "redis_info": 1,
        "redis_keyspace_keys": 0,
        "redis_keyspace_expiring_keys": 0,
    }
    assert numbers(parse_info(f"rdb_last_save_time:{int(NOW.timestamp()) - 90}"))["redis_last_save_age_seconds"] == 90


@given(st.text())
def test_any_info_text_is_parsed(text: str) -> None:
    """
    Whatever a server says, there are numbers or none, but no surprise.
    """
    numbers(parse_info(text))
