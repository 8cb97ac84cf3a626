"""kill -9 of the whole program at any moment, under load."""

import http.client
import random
import threading
import time
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.page_server import Page, serve_page
from tests.program import Program, eventually, toban

SEEDS = [pytest.param(seed, marks=[pytest.mark.soak] * (seed >= 3)) for seed in range(200)]
SERIES = 300
LIVES = 2

CONFIGURATION = """
collect:
  - {{kind: toban, interval: 1s}}
  - {{kind: host, interval: 1s}}
  - {{kind: scrape, name: load, url: "{url}", interval: 200ms}}
"""
EVERYTHING = '{__name__=~".+"}[10m]'

Seen = dict[tuple[tuple[str, str], ...], dict[float, str]]
"""Samples of each series by their time."""


def pages() -> Page:
    """An exporter whose numbers tell page and series: one that is out of its place shows."""
    numbers = count(1)

    def body() -> str:
        page = next(numbers)
        return "".join(f'load{{n="{n}"}} {page * 1000 + n}\n' for n in range(SERIES))

    return Page(body, media="text/plain; version=0.0.4")


def everything(program: Program) -> Seen:
    return {tuple(sorted(one["metric"].items())): dict(one["values"]) for one in program.query(EVERYTHING)}


def scrape_times(seen: Seen, job: str) -> list[float]:
    """Return when a target was looked at."""
    return sorted({at for series, samples in seen.items() if dict(series)["job"] == job for at in samples})


def seen_until_killed(program: Program, after: float) -> Seen:
    """Ask for everything again and again, and return the last answer before the kill."""
    seen: Seen = {}
    threading.Timer(after, program.process.kill).start()
    while program.process.poll() is None:
        try:
            seen = everything(program)
        except (OSError, http.client.HTTPException, AssertionError):
            program.process.wait(60)
    return seen


def acknowledged(seen: Seen) -> Seen:
    """Return all but each target's newest look, whose samples may be a few milliseconds apart."""
    newest = {job: scrape_times(seen, job)[-1] for job in {dict(series)["job"] for series in seen}}
    return {
        series: {at: value for at, value in samples.items() if at < newest[dict(series)["job"]] - 0.1}
        for series, samples in seen.items()
    }


@pytest.mark.parametrize("seed", SEEDS)
def test_acknowledged_samples_survive_a_kill(tmp_path: Path, seed: int, record_property: Any) -> None:
    """
    A target is looked at again only when its last look is on disk. So of whatever a query has shown before the kill,
    all but the newest look of each target was acknowledged, and stands there with the same digits at the next start.
    Every look is there as a whole or not at all, with the numbers of one page; nothing counts as damage, state opens,
    and the start says that the last run ended without a stop.
    """
    chance = random.Random(seed)
    kept: Seen = {}
    started = False
    with serve_page(pages()) as page:
        (tmp_path / "toban.yaml").write_text(CONFIGURATION.format(url=page.url))
        for life in range(LIVES + 1):
            began = time.monotonic()
            with toban(tmp_path / "data") as program:
                if life:
                    seen = eventually(lambda: everything(program))
                    record_property(
                        "start without imports to first answer, ms", round((time.monotonic() - began) * 1000)
                    )
                    missing = {
                        (series, at)
                        for series, samples in kept.items()
                        for at, value in samples.items()
                        if seen.get(series, {}).get(at) != value
                    }
                    assert not missing
                    whole(seen)
                    if started:
                        program.until("last run ended without a stop")
                    assert not list((tmp_path / "data").rglob("*broken*"))
                    assert program.get("/-/healthy")[0] == 200
                if life < LIVES:
                    # Some are killed while they start, most while they work.
                    seen = seen_until_killed(program, chance.choice([chance.uniform(0.1, 1.2), chance.uniform(1, 3)]))
                    kept.update(acknowledged(seen))
                    record_property("samples held against the next start", sum(map(len, kept.values())))
                    started = started or bool(seen)
                else:
                    assert program.stop() == 0


def whole(seen: Seen) -> None:
    """Hold the looks at the exporter against what it served."""
    load = {dict(series)["n"]: samples for series, samples in seen.items() if dict(series)["__name__"] == "load"}
    last = 0
    for at in sorted({at for samples in load.values() for at in samples}):
        served = {(float(samples[at]) - int(n)) / 1000 for n, samples in load.items()}
        assert len(load) == SERIES
        [page] = served
        assert page > last
        last = page
