"""Log records become lines; some report a declined payment."""

from datetime import UTC, datetime

import pytest

from tests.captured_telemetry import Ingest
from tests.telemetry import logs
from toban.core.errors import StateError
from toban.core.log_line import LogLevel
from toban.ingest.otlp_logs import log_level


class Declines:
    """Records declined payments; raises while ``unavailable``."""

    def __init__(self) -> None:
        self.recorded: list[tuple[str, str, str]] = []
        self.unavailable = False

    async def record(self, order: str, method: str, error: str, at: datetime) -> None:
        if self.unavailable:
            raise StateError("state: locked")
        assert at.tzinfo is UTC
        self.recorded.append((order, method, error))


@pytest.mark.parametrize(
    ("severity", "expected"),
    [
        (0, LogLevel.INFO),
        (1, LogLevel.DEBUG),
        (5, LogLevel.DEBUG),
        (9, LogLevel.INFO),
        (13, LogLevel.WARN),
        (17, LogLevel.ERROR),
    ],
)
def test_severity_numbers_become_levels(severity, expected):
    """
    Vendure sends numbers without texts.
    """
    assert log_level(severity) is expected


async def test_a_decline_without_a_row_is_recorded_from_the_log():
    """
    Only from warnings of the shop's own processes.
    """
    declines = Declines()
    ingest = Ingest(declines)
    declined = "Payment for order T_3ABCD failed: Your card was declined."
    await ingest.push("x.logs.json", logs((13, declined), (9, declined), (13, "Payment for orders")))
    await ingest.push("x.logs.json", logs((13, declined), service="somebody"))

    assert declines.recorded == [("T_3ABCD", "stripe", "Your card was declined.")]


async def test_a_decline_waits_while_state_is_unavailable():
    """
    The request is accepted, and the decline is recorded later.
    """
    declines = Declines()
    declines.unavailable = True
    ingest = Ingest(declines)
    response = await ingest.push("x.logs.json", logs((13, "Payment for order A failed")))
    assert response.status == 200
    assert declines.recorded == []

    declines.unavailable = False
    await ingest.receiver._expire()
    assert declines.recorded == [("A", "stripe", "")]
