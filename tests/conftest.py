"""What a run of the tests tells at its end: figures that tests have noted with ``record_property``."""

from collections import defaultdict
from statistics import median

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the least, the median and the most of each figure."""
    figures: dict[str, list[float]] = defaultdict(list)
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            figures[name].append(float(value))
    for name, values in sorted(figures.items()):
        terminalreporter.write_line(
            f"{name}: {min(values):.0f} to {max(values):.0f}, median {median(values):.0f}, of {len(values)}"
        )
