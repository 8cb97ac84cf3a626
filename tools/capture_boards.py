"""
Captures what the shipped boards read, for the test that none of their queries is empty without a reason.

Run `toban demo --visitors 120`, wait ten minutes, and run this with the demo's address in TOBAN_URL. An argument is the
time of the last sample, in seconds since the epoch: before a fault, where one was injected.
"""

import gzip
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from toban.dashboards.board import with_placeholders
from toban.dashboards.board_loader import shipped_boards
from toban.dashboards.query_description import describe_query

FILE: Final = Path(__file__).parents[1] / "tests" / "data" / "boards.txt.gz"
LENGTH: Final = "15m"


def metrics_of_boards() -> Iterator[str]:
    """Return the metrics that the shipped boards read."""
    for board in shipped_boards():
        yield from (variable.metric for variable in board.variables)
        for panel in board.all_panels:
            for query in panel.queries:
                yield from describe_query(with_placeholders(query.expr), {}).metrics


def main() -> None:
    """Write the file."""
    until = float(sys.argv[1]) if len(sys.argv) > 1 else float("inf")
    selector = '{__name__=~"' + "|".join(sorted(set(metrics_of_boards()))) + '"}'
    command = ["toban", "export", "openmetrics", "--match", selector, "--last", LENGTH]
    exported = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    lines = [
        line
        for line in exported.splitlines(keepends=True)
        if line.startswith("#") or float(line.rpartition(" ")[2]) <= until
    ]
    FILE.write_bytes(gzip.compress("".join(lines).encode(), 9, mtime=0))
    print(f"{FILE}: {len(lines)} lines")  # noqa: T201  # its output


if __name__ == "__main__":
    main()
