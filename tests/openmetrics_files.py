"""OpenMetrics files with samples of some hours, for toban and for a real Prometheus."""

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.needs import need


def write_openmetrics_file(folder: Path, hours: int) -> tuple[Path, int]:
    """Write counters, a histogram and a transient gauge to a file; return its path and the time of its last sample."""
    end = int(time.time()) - 600
    times = range(end - hours * 3600, end, 15)
    lines = ["# HELP seen What was seen.", "# TYPE seen counter"]
    for shop in ("東京", "berlin"):
        lines += [f'seen_total{{shop="{shop}"}} {number * 2.5} {at}.123' for number, at in enumerate(times)]
    lines += ["# TYPE took_seconds histogram", "# UNIT took_seconds seconds"]
    for bound, factor in (("0.1", 1), ("+Inf", 2)):
        lines += [f'took_seconds_bucket{{le="{bound}"}} {number * factor} {at}' for number, at in enumerate(times)]
    lines += [
        "# TYPE load gauge",
        *(f"load {number % 7} {at}" for number, at in enumerate(times) if number % 400 < 200),
    ]
    file = folder / "samples.txt"
    file.write_text("\n".join([*lines, "# EOF", ""]))
    return file, end


def block_writer(file: Path) -> Callable[[Path], None]:
    """Return a function that writes a file's samples as blocks into the folder of a Prometheus."""
    promtool = need("promtool", shutil.which("promtool"))

    def fill(folder: Path) -> None:
        command = [promtool, "tsdb", "create-blocks-from", "openmetrics", file, folder / "data"]
        subprocess.run(command, check=True, capture_output=True)

    return fill
