"""Which patterns of keys may be tidied, at what cost, and when to stop."""

import pytest
from pydantic import ValidationError

from toban.maintenance.redis_keys import LatencyGuard, reason_to_purge, refusal, tidy_commands
from toban.maintenance.tasks.redis_tidy import RedisTidy


@pytest.mark.parametrize("pattern", ["expired:*", "tmp:?:*", "session-old:[0-9]*", "vendure-old:*", "bullet:*"])
def test_patterns_with_a_beginning_of_their_own_are_accepted(pattern: str):
    assert refusal(pattern) == ""


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("*", "begins with a wildcard"),
        ("*expired*", "begins with a wildcard"),
        ("?ull:*", "begins with a wildcard"),
        ("[a-z]*", "begins with a wildcard"),
        ("\\bull:*", "begins with a wildcard"),
        ("bull:*", "could match bull:*"),
        ("bull:vendure-job-queue:failed", "could match bull:*"),
        ("b*", "could match bull:*"),
        ("bull?*", "could match bull:*"),
        ("vendure-cache:*", "could match vendure-cache:*"),
        ("vendure-*", "could match vendure-cache:*"),
        ("{bull}:*", "hash tag"),
    ],
)
def test_patterns_that_could_match_jobs_or_the_cache_are_refused(pattern: str, why: str):
    assert why in refusal(pattern)
    with pytest.raises(ValidationError, match=r"could match|begins with"):
        RedisTidy(pattern=pattern)


def test_the_shops_own_prefixes_are_protected_too():
    assert refusal("jobs:*", ["jobs:"])
    assert refusal("jobs-old:*", ["jobs:"]) == ""


def test_the_cost_is_that_of_the_scans_and_of_the_batches():
    assert tidy_commands(0, 0) == 1
    assert tidy_commands(1_000_000, 0) == 1_000
    assert tidy_commands(1_000_000, 5_001) == 1_011


def test_it_stops_when_commands_take_twice_as_long_as_at_the_beginning():
    guard = LatencyGuard()
    assert not any(guard.is_doubled(0.004) for _ in range(20))
    assert [guard.is_doubled(0.009) for _ in range(5)] == [False, False, True, True, True]


def test_one_slow_command_and_fast_ones_that_vary_do_not_stop_it():
    guard = LatencyGuard()
    assert not any(guard.is_doubled(it) for it in [0.004] * 10 + [1.0] + [0.004] * 10)
    guard = LatencyGuard()
    assert not any(guard.is_doubled(it) for it in [0.0001] * 10 + [0.0009] * 10)


LOOSE = {"mem_allocator": "jemalloc-5.3.0", "used_memory": f"{100 * 2**20}", "used_memory_rss": f"{200 * 2**20}"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, "its process has 200 MiB for 100 MiB of data"),
        ({"used_memory_rss": f"{140 * 2**20}"}, ""),
        ({"used_memory": f"{10 * 2**20}", "used_memory_rss": f"{60 * 2**20}"}, ""),
        ({"mem_allocator": "libc"}, ""),
        ({"upstash_version": "1.13.3"}, ""),
    ],
)
def test_memory_is_given_back_only_where_much_is_unused_and_the_server_can(change: dict[str, str], reason: str):
    assert reason_to_purge({**LOOSE, **change}) == reason
