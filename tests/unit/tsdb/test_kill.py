"""kill -9 at any moment loses no acknowledged sample."""

import random
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from tests.fakes import FakeClock
from tests.unit.tsdb.appending import WINDOW
from tests.unit.tsdb.conftest import bits_by_series
from toban.core.matchers import Matcher, MatchOperator
from toban.core.metric_registry import MetricRegistry
from toban.core.samples import is_absent
from toban.tsdb.settings import TsdbSettings
from toban.tsdb.store import CORRUPTIONS, Store

SEEDS = [pytest.param(seed, marks=[pytest.mark.soak] * (seed >= 4)) for seed in range(200)]
LOAD = [Matcher("__name__", MatchOperator.EQUAL, "load")]

ROOT = Path(__file__).parents[3]


def killed(folder: Path, seed: int, lines: int) -> list[list[str]]:
    """Run a store until it has printed so many lines, kill it, and return all that it printed."""
    command = [sys.executable, "-m", "tests.unit.tsdb.appending", str(folder), str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout
        printed = [process.stdout.readline() for _ in range(lines)]
        process.kill()
        printed += process.stdout.readlines()
    return [line.split() for line in printed if line.endswith("\n") and line.startswith(("begun ", "done "))]


@pytest.mark.parametrize("seed", SEEDS)
def test_acknowledged_samples_survive_kill(tmp_path, seed):
    """
    Two runs, both killed. Each series has at each time the sample acknowledged last, or one whose append was under way;
    there is no other sample, and no damage is reported.
    """
    chance = random.Random(seed)
    begun: dict[tuple[int, int], dict[int, int]] = {}
    done: set[int] = set()
    for run in range(2):
        for word, number, *rest in killed(tmp_path / "tsdb", 1 + run + 2 * seed, chance.randint(50, 3000)):
            if word == "done":
                done.add(int(number))
                continue
            at, places, data = rest
            values = np.frombuffer(bytes.fromhex(data))
            for place, bits, absent in zip(
                places.split(","), values.view(np.int64).tolist(), is_absent(values), strict=True
            ):
                if not absent:
                    begun.setdefault((int(place), int(at)), {})[int(number)] = bits

    clock, meters = FakeClock(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=30)), MetricRegistry()
    began = time.perf_counter()
    with Store(tmp_path / "tsdb", TsdbSettings(), clock, meters, window=WINDOW) as store:
        groups = store.select(LOAD, 0, 2**52)
        print(f"open to first answer: {(time.perf_counter() - began) * 1000:.0f} ms")
    response = {
        (int(name.partition('place="')[2].removesuffix('"}')), at): bits
        for name, found in bits_by_series(groups).items()
        for at, bits in found.items()
    }

    assert response.keys() <= begun.keys()
    for key, written in begun.items():
        last = max((number for number in written if number in done), default=None)
        allowed = {bits for number, bits in written.items() if last is None or number >= last}
        assert key in response or last is None
        assert key not in response or response[key] in allowed
    assert meters.value(CORRUPTIONS) == 0
