"""The tests as a whole: distribution over workers, and figures in the summary."""

import os
import signal
from collections import defaultdict
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from xdist.scheduler import LoadScopeScheduling

from tests import empty_state
from toban.state import schema_version

# A machine that has other things to do fails no test.
settings.register_profile("toban", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("toban")

# Reading a machine's hundred authorities takes 50 ms, in every client and every program that a test starts.
os.environ["SSL_CERT_FILE"] = str(Path(__file__).parent / "data" / "authority.pem")


@pytest.fixture(scope="session", autouse=True)
def schema_at_once():
    """Give an empty state its schema without migrations, in the tests' own process; `test_migrations.py` has both."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(schema_version, "migrate", empty_state.migrate)
        yield


# A shell that runs the tests in the background lets them ignore Ctrl-C, and they would hand that on.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


class Sharing(LoadScopeScheduling):
    """Schedules each test on a free worker, but all tests of a file that share servers, a shop or a browser on one."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if _shares(file) else nodeid


@cache
def _shares(file: str) -> bool:
    if file.startswith("tests/browser/"):
        return True
    text = (Path(__file__).parents[1] / file).read_text(encoding="utf-8")
    return 'scope="module"' in text or "from tests.vendure_shop import" in text


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Sharing | None:
    """Share what tests of a file share, unless another way was asked for."""
    return Sharing(config, log) if config.getvalue("dist") == "load" else None


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
