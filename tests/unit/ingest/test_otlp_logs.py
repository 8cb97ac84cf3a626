"""Log records become lines; some tell of a payment."""

from datetime import UTC, datetime

import pytest

from tests.captured import Intake
from tests.telemetry import logs
from toban.core.errors import StateError
from toban.core.log_line import LogLevel
from toban.ingest.otlp_logs import log_level


class Told:
    """Is told of payments that failed; raises while there is ``trouble``."""

    def __init__(self) -> None:
        self.of: list[tuple[str, str, str]] = []
        self.trouble = False

    async def record(self, order: str, method: str, error: str, at: datetime) -> None:
        if self.trouble:
            raise StateError("state: locked")
        assert at.tzinfo is UTC
        self.of.append((order, method, error))


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
def test_a_severity_is_a_level(severity, expected):
    """
    Vendure sends numbers without words.
    """
    assert log_level(severity) is expected


async def test_a_providers_decline_that_leaves_no_row_is_told():
    """
    Of the shop's own processes, as a warning, with the order's code.
    """
    told = Told()
    intake = Intake(told)
    declined = "Payment for order T_3ABCD failed: Your card was declined."
    await intake.push("x.logs.json", logs((13, declined), (9, declined), (13, "Payment for orders")))
    await intake.push("x.logs.json", logs((13, declined), service="somebody"))

    assert told.of == [("T_3ABCD", "stripe", "Your card was declined.")]


async def test_a_decline_waits_while_state_is_in_trouble():
    """
    The shop is answered; it is told when state is back.
    """
    told = Told()
    told.trouble = True
    intake = Intake(told)
    answer = await intake.push("x.logs.json", logs((13, "Payment for order A failed")))
    assert answer.status == 200
    assert told.of == []

    told.trouble = False
    await intake.taking._tidy()
    assert told.of == [("A", "stripe", "")]
