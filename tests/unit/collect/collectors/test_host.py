"""The collector `host`."""

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toban.collect.collectors.host import FIRST_SECONDS, Host, mounts, oom_kills
from toban.collect.system_metrics import cpu_percent

seconds = st.floats(0, 1e9)


async def scrape_once(host, tools):
    return {(s.family.name, s.labels.get("mount", "")): s.value for s in await host.collect(tools)}


async def test_samples_equal_the_systems_values(tools):
    """
    Memory and disks add up, and `/` is always among them.
    """
    found = await scrape_once(Host(), tools)

    assert found["system_memory_size_bytes", ""] == psutil.virtual_memory().total
    assert 0 < found["system_memory_usage_bytes", ""] < found["system_memory_size_bytes", ""]
    size, used, free = (found[f"system_disk_{part}_bytes", "/"] for part in ("size", "usage", "available"))
    assert 0 < used + free <= size
    assert 0 <= found["system_cpu_usage_percent", ""] <= 100


async def test_the_first_scrape_measures_cpu_over_half_a_second(tools):
    """
    The second compares with the first and need not wait.
    """
    host = Host().open(tools)
    await host.collect()
    assert tools.clock.monotonic() == FIRST_SECONDS
    await host.collect()
    assert tools.clock.monotonic() == FIRST_SECONDS


def test_pseudo_file_systems_are_skipped():
    """
    What lies on no disk has no space.
    """
    assert "/" in mounts()
    assert not {"/proc", "/sys", "/dev/shm"} & set(mounts())


@given(seconds, seconds, seconds, seconds)
def test_cpu_usage_is_between_0_and_100(busy, idle, more_busy, more_idle):
    """
    From 0 to 100, also when a clock stands still or jumps back.
    """
    assert 0 <= cpu_percent((busy, busy + idle), (more_busy, more_busy + more_idle)) <= 100


@pytest.mark.parametrize(("now", "percent"), [((1.5, 12.0), 25.0), ((1.0, 12.0), 0.0), ((3.0, 12.0), 100.0)])
def test_cpu_usage_is_all_but_idle(now, percent):
    """
    Against a first reading of one busy second in ten.
    """
    assert cpu_percent((1.0, 10.0), now) == percent


def test_oom_kills_are_those_of_the_container_if_there_is_one(tmp_path):
    """
    Else for the machine; where nothing tells, or something else, there is no number.
    """
    container, machine, other = (tmp_path / name for name in ("memory.events", "vmstat", "other"))
    container.write_text("low 0\noom 3\noom_kill 2\n")
    machine.write_text("nr_free_pages 1\noom_kill 7\n")
    other.write_text("nonsense\n")
    gone = str(tmp_path / "gone")
    assert list(oom_kills([str(container), str(machine)])) == [2]
    assert list(oom_kills([gone, str(machine)])) == [7]
    assert list(oom_kills([str(other), gone])) == []
