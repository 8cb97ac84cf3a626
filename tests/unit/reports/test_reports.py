"""Reports: their figures equal the books, and what they say is right in both languages."""

import json
import struct
import zlib
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from tests.fakes import FakeClock
from tests.promql_scripts import ScriptSource
from tests.sample_report import sample_report
from toban.core.deploys import Deploy
from toban.core.errors import ActionError, InvalidCommandError, QueryError
from toban.core.impact import Impact
from toban.core.message_catalogue import catalogue
from toban.core.notification import Notification, NotificationKind
from toban.incidents import lifecycle
from toban.maintenance.run import MaintenanceRun, RunState
from toban.maintenance.task import Finding, ReportOrder, Severity
from toban.maintenance.tasks.restore_drill import RPO, RTO
from toban.notify.channels.email import render_mail
from toban.promql.engine import PromqlEngine
from toban.promql.executor import QueryExecutor
from toban.reports.blocks import Chart, Table
from toban.reports.builder import ReportBuilder, ReportSources
from toban.reports.content import write
from toban.reports.mail import as_mail, as_page
from toban.reports.period import Period, span_of
from toban.reports.rendering import as_data, as_markdown, as_text
from toban.reports.report import Audience, Availability, Report
from toban.reports.service import ReportService, summary

BERLIN = ZoneInfo("Europe/Berlin")
NOW = datetime(2026, 11, 2, 9, tzinfo=UTC)
OCTOBER = span_of(Period.MONTH, date(2026, 10, 1), BERLIN)
BOOKS = {date(2026, 9, 1) + timedelta(days=it): 20 + it % 7 for it in range(61)}
"""Orders of each day, of 12.34 EUR each."""


def shop() -> ScriptSource:
    """A shop that writes an exact counter: each order at its own time of the day."""
    source, total, points = ScriptSource(), 500, []
    at = datetime(2026, 8, 30, tzinfo=UTC)
    placed = sorted(
        datetime(day.year, day.month, day.day, 23 * it // count, it % 60, 30, tzinfo=BERLIN).astimezone(UTC)
        for day, count in BOOKS.items()
        for it in range(count)
    )
    while at < NOW:
        while placed and placed[0] <= at:
            placed.pop(0)
            total += 1
        points.append((round(at.timestamp() * 1000), float(total)))
        at += timedelta(minutes=5)
    source.add({"__name__": "vendure_orders_created_total", "customerType": "general"}, points)
    source.add(
        {"__name__": "vendure_revenue_total", "currency": "EUR"}, [(time, value * 12.34) for time, value in points]
    )
    return source


async def nothing(since: datetime, until: datetime) -> list:
    return []


async def no_budgets() -> list:
    return []


async def report_of(source: ScriptSource, span=OCTOBER, audience=Audience.OWNER, **others) -> Report:
    async with QueryExecutor(PromqlEngine(source)) as engine:
        given = {
            "incidents": nothing,
            "duty": nothing,
            "deploys": nothing,
            "maintenance": nothing,
            "budgets": no_budgets,
            **others,
        }
        sources = ReportSources(engine, FakeClock(NOW), "Kiosk", "https://toban.example", **given)
        return await ReportBuilder(sources).build(span, audience)


@pytest.fixture(scope="module")
def source() -> ScriptSource:
    return shop()


async def test_orders_and_revenue_equal_the_books(source: ScriptSource):
    sales = (await report_of(source)).sales
    october = sum(count for day, count in BOOKS.items() if day.month == 10)
    september = sum(count for day, count in BOOKS.items() if day.month == 9)
    assert (sales.orders.value, sales.orders.before, sales.orders.year_before) == (october, september, None)
    assert sales.revenue["EUR"].value == pytest.approx(october * 12.34)
    assert [it.orders for it in sales.slots] == [BOOKS[day] for day in OCTOBER.days]
    assert sales.best.orders == max(BOOKS[day] for day in OCTOBER.days)


async def test_a_day_of_25_hours_has_all_of_its_orders(source: ScriptSource):
    day = date(2026, 10, 25)
    sales = (await report_of(source, span_of(Period.DAY, day, BERLIN))).sales
    assert len(sales.slots) == 25
    assert sum(it.orders for it in sales.slots) == sales.orders.value == BOOKS[day]


async def test_minutes_in_which_the_check_failed_and_in_which_nobody_looked_are_counted():
    source, begin = ScriptSource(), OCTOBER.begins
    minutes = [begin + timedelta(minutes=it) for it in range(24 * 60)]
    seen = [it for it in minutes if not 10 <= it.hour < 12]
    points = [(round(it.timestamp() * 1000), 0.0 if it.hour == 3 and it.minute < 31 else 1.0) for it in seen]
    source.add({"__name__": "vendure_shop_check_up", "step": "search"}, points)
    source.add({"__name__": "vendure_shop_check_up", "step": "cart"}, [(at, 0.0) for at, _ in points])
    found = (await report_of(source, span_of(Period.DAY, date(2026, 10, 1), BERLIN))).availability
    assert found.minutes_down == 31
    # A gap of two hours; the last value counts for five minutes more.
    assert found.minutes_blind == pytest.approx(120 - 5, abs=1)
    assert found.share == pytest.approx(1 - 31 / found.minutes_seen)


def incident(impact: Impact | None):
    found = lifecycle.opened(7, "The database is down", "P1", OCTOBER.begins, OCTOBER.begins, "ann").incident
    ended = OCTOBER.begins + timedelta(minutes=31)
    return replace(found, resolved=ended, responded=OCTOBER.begins + timedelta(minutes=3), impact=impact)


IMPACT = Impact("JPY", 84_000, 54_000, 1_140_000, 0, 12, NOW)


async def full_report(source: ScriptSource, audience: Audience) -> Report:
    async def incidents(since: datetime, until: datetime) -> list:
        return [incident(IMPACT)]

    async def deploys(since: datetime, until: datetime) -> list:
        return [Deploy("v1.2 <b>", OCTOBER.begins, "api", "ann")]

    async def maintenance(since: datetime, until: datetime) -> list:
        finding = Finding("rights", "the role may not vacuum", Severity.WARNING)
        run = MaintenanceRun(
            1, "postgres_vacuum", "postgres_vacuum", "postgres", RunState.SUCCEEDED, OCTOBER.begins, "me", NOW
        )
        return [replace(run, findings=(finding,), text="3 of 3 steps done")]

    report = await report_of(source, audience=audience, incidents=incidents, deploys=deploys, maintenance=maintenance)
    return replace(report, availability=Availability(31, 44_000, OCTOBER.minutes))


async def test_the_first_sentence_says_whether_customers_could_buy(source: ScriptSource):
    report = await full_report(source, Audience.OWNER)
    english, japanese = write(report, "en"), write(report, "ja")
    assert english.title == "Kiosk: Report of the shop, 2026-10"
    assert english.blocks[0].text == (
        "Customers could buy 99.93\u00a0% of the time; 31 min were lost. Nobody looked for 11 h 40 min. Incidents: 1. "
        "They cost about ¥84,000 (¥54,000 to ¥1.14M)."
    )
    assert japanese.title == "Kiosk: ショップのレポート 2026年10月"
    assert "影響額は約 ¥84,000 (¥54,000〜¥114万) です。" in japanese.blocks[0].text
    assert english.link == "https://toban.example/reports?period=month&day=2026-10-01&audience=owner"


async def test_engineers_read_more_than_owners(source: ScriptSource):
    owner, engineer = [as_markdown(write(await full_report(source, it), "en")) for it in Audience]
    assert "Maintenance" not in owner
    assert "| postgres\\_vacuum | 1 | 0 | 3 of 3 steps done |" in engineer
    assert "v1.2 \\<b\\>" in engineer


async def test_what_comes_from_outside_is_text_in_every_form(source: ScriptSource):
    report = await full_report(source, Audience.ENGINEER)
    evil = replace(report.incidents[0], title="<script>alert(1)</script> | [x](javascript:y)")
    content = write(replace(report, incidents=(evil,)), "en")
    assert "<script>" not in as_mail(content).html
    assert "<script>" not in as_markdown(content)
    assert "\\[x\\]" in as_markdown(content)


async def test_a_mail_shows_its_charts_as_inline_images(source: ScriptSource):
    content = write(await full_report(source, Audience.OWNER), "ja")
    message = Notification(
        "report", 0, "report.mail", NotificationKind.NOTICE, "info", content.title, tuple(summary(content)), (), (),
        NOW, NOW, document=as_mail(content),
    )  # fmt: skip  # a line a field would hide what is tested
    restored = Notification.from_dict(json.loads(json.dumps(message.as_dict())))
    assert restored == message
    mail = render_mail(restored, "toban <alerts@example.com>", ["owner@example.com"], "Kiosk")
    assert mail["Subject"] == content.title
    related = next(part for part in mail.walk() if part.get_content_type() == "multipart/related")
    page, image = related.iter_parts()
    assert 'src="cid:chart-0"' in page.get_content()
    assert image["Content-ID"] == "<chart-0>"
    assert is_png(image.get_content())
    plain = next(part for part in mail.walk() if part.get_content_type() == "text/plain").get_content()
    assert "99.93\u00a0%" in plain and "注文: " in plain


def test_a_mail_that_gmail_would_cut_off_says_that_the_page_has_more_and_the_page_has_all():
    content = write(sample_report(incidents=400), "en")
    mail = as_mail(content).html
    assert len(mail.encode()) < 102_000
    assert "The report is longer than mails show" in mail and "Open in toban" in mail
    page = as_page(content)
    assert "The report is longer" not in page and "v1.2 &lt;b&gt;" in page


@pytest.mark.parametrize("language", ["en", "ja"])
def test_messengers_get_the_figures_of_every_section_by_name(language: str):
    sections = as_mail(write(sample_report(), language)).sections
    shown = {fact.name: fact.value for it in sections for fact in it.facts}
    say = catalogue("toban.reports", language)
    assert shown[say["orders"]].splitlines()[1] == f"{say['before']}: 685"
    assert shown["card-payment-provider"].splitlines() == [
        f"{say['failed']}: 31",
        f"{say['before']}: 18",
        f"{say['error']}: card_declined",
    ]
    assert "372.0 h" in shown["青山 太郎"]
    assert sum(bool(it.chart) for it in sections) == 1
    assert [it.heading for it in sections].count(say["missing"]) == 1


def is_png(body: bytes) -> bool:
    """Tell whether all parts of a picture are complete, and its pixels as many as it says."""
    assert body[:8] == b"\x89PNG\r\n\x1a\n"
    place, parts = 8, {}
    while place < len(body):
        length = struct.unpack(">I", body[place : place + 4])[0]
        kind, data = body[place + 4 : place + 8], body[place + 8 : place + 8 + length]
        assert zlib.crc32(kind + data) == struct.unpack(">I", body[place + 8 + length : place + 12 + length])[0]
        parts[kind], place = data, place + 12 + length
    width, height = struct.unpack(">II", parts[b"IHDR"][:8])
    return len(zlib.decompress(parts[b"IDAT"])) == height * (1 + 4 * width) and b"IEND" in parts


@pytest.mark.parametrize(
    ("state", "text", "said"),
    [
        (
            RunState.SUCCEEDED,
            "restored",
            "The restore drill of 2026-10-20 05:00 proved the newest backup: restoring took 2 min 10 s, and 5 h would "
            "have been lost.",
        ),
        (
            RunState.FAILED,
            "the archive is truncated",
            "The restore drill of 2026-10-20 05:00 proved no backup: the archive is truncated",
        ),
    ],
)
async def test_owners_read_whether_a_backup_was_proved(source: ScriptSource, state: RunState, text: str, said: str):
    at = datetime(2026, 10, 20, 3, tzinfo=UTC)

    async def maintenance(since: datetime, until: datetime) -> list:
        run = MaintenanceRun(1, "drill", "restore_drill", "backups", state, at, "me", at)
        figures = {RPO.name: 18_000.0, RTO.name: 130.0}
        old = replace(run, started=at - timedelta(days=30), ended=at, text="an older one")
        return [old, replace(run, ended=at + timedelta(minutes=3), text=text, figures=figures)]

    content = write(await report_of(source, maintenance=maintenance), "en")
    assert said in [getattr(it, "text", "") for it in content.blocks]


async def test_a_section_that_can_not_be_read_is_named_and_costs_no_other(source: ScriptSource):
    async def fails(since: datetime, until: datetime) -> list:
        raise QueryError("too many samples")

    report = await report_of(source, incidents=fails)
    assert report.missing == {"incidents": "too many samples"}
    assert report.sales is not None
    assert "Incidents: too many samples" in as_text(write(report, "en"))


async def test_a_shop_without_data_has_a_report_that_claims_nothing():
    report = await report_of(ScriptSource())
    content = write(report, "en")
    assert content.blocks[0].text == (
        "Whether customers could buy all the time is not known: the shop was not checked."
    )
    assert not [it for it in content.blocks if isinstance(it, Table | Chart)]
    json.dumps(as_data(report))


class Sender:
    """Makes reports of an empty shop, and keeps what it sends."""

    def __init__(self, clock: FakeClock) -> None:
        self.sent: list[Notification] = []
        self.made = 0
        self.service = ReportService(self, BERLIN, "ja", self._notice, self._send, clock)  # type: ignore[arg-type]  # it builds
        self._clock = clock

    async def build(self, span, audience) -> Report:
        self.made += 1
        return Report("Kiosk", span, audience, self._clock.now(), "https://toban.example")

    def _notice(self, channel, name, title, lines) -> Notification:
        at = self._clock.now()
        kind = NotificationKind.NOTICE
        return Notification(name, 0, f"{name}.{channel}", kind, "info", title, tuple(lines), (), (), at, at)

    async def _send(self, message, audit) -> None:
        self.sent.append(message)


async def test_a_report_is_sent_with_its_page_and_made_once_for_all_places(tmp_path: Path):
    sender = Sender(FakeClock(NOW))
    assert await sender.service.send(ReportOrder("monthly", "month", "owner", "", channel="mail")) == (
        "sent the report of 2026-10-01 to mail"
    )
    await sender.service.send(ReportOrder("monthly", "month", "owner", "", folder=str(tmp_path / "r")))
    (message,) = sender.sent
    assert (message.language, message.title) == ("ja", "Kiosk: ショップのレポート 2026年10月")
    assert message.links[0].href.startswith("https://toban.example/reports?")
    assert sorted(it.name for it in (tmp_path / "r").iterdir()) == [
        f"monthly-2026-10-01.{it}" for it in ("html", "json", "md")
    ]
    assert sender.made == 1


async def test_a_folder_that_can_not_be_written_is_named(tmp_path: Path):
    (tmp_path / "file").write_text("")
    sender = Sender(FakeClock(NOW))
    with pytest.raises(ActionError, match=r"file.*(Not a directory|File exists)"):
        await sender.service.send(ReportOrder("monthly", "month", "owner", "", folder=str(tmp_path / "file" / "r")))


def test_there_is_no_report_of_what_has_not_begun():
    sender = Sender(FakeClock(NOW))
    with pytest.raises(InvalidCommandError, match="there is nothing to report of 2026-12-24"):
        sender.service.span(Period.WEEK, date(2026, 12, 24))


async def test_hours_in_which_toban_did_not_run_are_named_and_a_break_without_a_baseline_claims_no_cost():
    source, begin = ScriptSource(), span_of(Period.DAY, date(2026, 10, 1), BERLIN).begins
    hours = [it for it in range(25) if not 4 <= it < 14]  # the last value counts for six hours
    points = [(round((begin + timedelta(hours=it)).timestamp() * 1000), float(it)) for it in hours]
    source.add({"__name__": "vendure_orders_created_total"}, points)
    report = await report_of(source, span_of(Period.DAY, date(2026, 10, 1), BERLIN))
    assert report.sales.orders.value == 24
    assert report.sales.unknown == 6
    lines = [
        getattr(it, "text", "")
        for it in write(replace(report, availability=Availability(31, 1_440, 1_440)), "en").blocks
    ]
    assert "The orders of 6 hours are not known: toban did not run." in lines
    assert lines[0].endswith("What that cost is not known: there is too little to compare with.")


async def test_the_report_of_today_counts_until_now_and_the_first_hour_since_it_is_counted():
    source, midnight = ScriptSource(), datetime(2026, 11, 1, 23, tzinfo=UTC)
    # toban was started at 3:20; it is 9:00 UTC.
    points = [
        (round((midnight + timedelta(hours=3, minutes=20 + it)).timestamp() * 1000), float(it // 10))
        for it in range(401)
    ]
    source.add({"__name__": "vendure_orders_created_total"}, points)
    source.add({"__name__": "vendure_shop_check_up", "step": "search"}, [(at, 1.0) for at, _ in points])
    report = await report_of(source, span_of(Period.DAY, date(2026, 11, 2), BERLIN))
    assert report.sales.orders.value == 40
    assert [it.orders for it in report.sales.slots][:5] == [None, None, None, 4, 6]
    assert sum(it.orders or 0 for it in report.sales.slots) == 40
    # Nobody can have looked at what has not come yet.
    assert report.availability.minutes == 600
    assert report.availability.minutes_blind == 200
