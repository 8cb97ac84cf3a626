"""A report in which every section has something, with the longest texts that shops have."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from toban.core.impact import Impact
from toban.incidents.duty_report import PersonDuty
from toban.reports.period import Period, span_of
from toban.reports.report import (
    Audience,
    Availability,
    BackupLine,
    Comparison,
    DeployLine,
    ForecastLine,
    IncidentLine,
    MaintenanceLine,
    PaymentLine,
    Report,
    SalesSection,
    ServiceLevelLine,
    Slot,
    SpeedLine,
)

NOW = datetime(2026, 11, 2, 9, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")


def sample_report(audience: Audience = Audience.ENGINEER, incidents: int = 2) -> Report:
    """Return the report of a month."""
    span = span_of(Period.MONTH, date(2026, 10, 1), BERLIN)
    impact = Impact("JPY", 84_000, 54_000, 1_140_000, 0, 12, NOW)
    slots = [Slot(datetime(2026, 10, it, tzinfo=BERLIN), 20.0 + it % 7) for it in range(1, 32)]
    later = [NOW + timedelta(days=it) for it in (20, 40, 90)]
    return Report(
        "Kiosk",
        span,
        audience,
        NOW,
        "https://toban.example",
        Availability(31, 44_000, span.minutes),
        SalesSection(
            Comparison(713, 685, 500),
            {"EUR": Comparison(8_798.42, 8_452.9, None), "JPY": Comparison(12_345_678, 11_000_000, 9_000_000)},
            Comparison(0.952, 0.941, 0.93),
            slots,
        ),
        [
            IncidentLine(
                it, "The payment provider answers 503 to every request", "P1", span.begins,
                span.begins + timedelta(minutes=31), timedelta(minutes=3), timedelta(minutes=31), impact, 1,
            )
            for it in range(1, incidents + 1)
        ],
        [ServiceLevelLine("can-sell", 0.995, 0.9962, 0.9981, 0.24)],
        [PaymentLine("card-payment-provider", 31, "card_declined", 18), PaymentLine("invoice", 3, "error", None)],
        [SpeedLine("ShowProductWithVariants", 123_456, 0.045, 0.31, 0.29)],
        BackupLine(span.begins, True, "restored", timedelta(hours=5), timedelta(seconds=130)),
        [MaintenanceLine("postgres_vacuum", 4, 0, "3 of 3 steps done", ["the role may not vacuum"])],
        [DeployLine(span.begins, "v1.2 <b>", "ann")],
        [ForecastLine("disk shop-1 /data", 0.83, later[1], later[0], later[2], 1.4)],
        [PersonDuty("Ann Aoyama", timedelta(hours=372), 4, 2, 3, 3), PersonDuty("青山 太郎", timedelta(hours=372), 1)],
        {"levels": "too many samples"},
    )  # fmt: skip  # a line a field would hide what is in it
