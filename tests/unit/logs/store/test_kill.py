"""kill -9 at any moment loses no acknowledged line, and stores none twice."""

import random
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fakes import FakeClock
from tests.unit.logs.store.appending import SETTINGS
from tests.unit.logs.store.lines import some_lines
from toban.core.metric_registry import MetricRegistry
from toban.logs.store.store import CORRUPTIONS, EmbeddedLineStore

SEEDS = [pytest.param(seed, marks=[pytest.mark.soak] * (seed >= 3)) for seed in range(300)]

ROOT = Path(__file__).parents[4]


def killed(folder: Path, seed: int, lines: int, wait: float) -> list[list[str]]:
    """Run a store until it has printed so many lines, kill it some moment later, and return all that it printed."""
    command = [sys.executable, "-m", "tests.unit.logs.store.appending", str(folder), str(seed)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout
        printed = [process.stdout.readline() for _ in range(lines)]
        try:
            process.wait(wait)
        except subprocess.TimeoutExpired:
            process.kill()
        printed += process.stdout.readlines()
    return [line.split() for line in printed if line.endswith("\n")]


@pytest.mark.parametrize("seed", SEEDS)
def test_acknowledged_lines_survive_kill(folder, seed):
    """
    Three runs, all killed: each goes on with the number after the last line. A batch that was under way is there as a
    whole, with its cursor, or not at all.
    """
    chance = random.Random(seed)
    next_number = 1
    for run in range(3):
        printed = killed(folder, 3 * seed + run, chance.randint(1, 150), chance.random() * 0.02)
        (word, *numbers), before = printed[-1], printed[-2][1:] if len(printed) > 1 else []
        first, count = map(int, numbers)
        assert int(printed[0][1]) == next_number
        with EmbeddedLineStore(folder, SETTINGS, FakeClock(), meters := MetricRegistry()) as store:
            next_number = store.report().next_number
            assert next_number in ({first + count} if word == "done" else {first, first + count})
            stored = store.numbered(0, 100_000)
            assert [(it.position.number, it.line) for it in stored] == list(
                enumerate(some_lines(next_number - 1, 1), 1)
            )
            assert store.cursor("source") == (str(next_number) if before or next_number > 1 else "")
        assert meters.value(CORRUPTIONS) == 0
