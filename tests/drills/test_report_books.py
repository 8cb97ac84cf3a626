"""The owner's report of a day against the demo's books: every figure, in JSON and as printed."""

import asyncio
import json
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from random import Random
from zoneinfo import ZoneInfo

import pytest
import yaml

from tests import servers
from tests.program import Program, eventually, toban
from tests.vendure import Vendure, vendure
from toban.core.number_format import format_money
from toban.demo.ground_truth import GroundTruth, PaymentAttempt, PlacedOrder
from toban.demo.traffic_model import BUSY, PaymentOutcome, plan_visits

CURRENCIES = {"default": "JPY", "b2b": "EUR"}
"""By channel: one without decimals, one with two."""
MINOR = {"JPY": 100, "EUR": 100}
"""Vendure's minor units in a major one: two decimals, whatever the currency has."""
STATES = {PaymentOutcome.DECLINED: "Declined", PaymentOutcome.FAILED: "Error"}
DAYS = 3
DOWN = timedelta(minutes=31)


@dataclass
class Books:
    """What the demo's customers did, day by day of the shop's time zone, and how long nobody could buy."""

    zone: ZoneInfo
    days: dict[date, GroundTruth] = field(default_factory=dict)
    down: tuple[datetime, datetime] = (datetime.min, datetime.min)

    def hours(self, day: date) -> Counter[int]:
        """Return the orders by the hours since midnight."""
        begin = datetime.combine(day, datetime.min.time(), self.zone).astimezone(UTC)
        return Counter((it.at - begin) // timedelta(hours=1) for it in self.days[day].orders)

    def revenue(self, day: date) -> dict[str, float]:
        """Return the revenue in major units by currency."""
        found: Counter[str] = Counter()
        for (_, currency), net in self.days[day].revenue.items():
            found[currency] += net
        return {currency: net / MINOR[currency] for currency, net in found.items()}


def make_books(zone: ZoneInfo, today: date) -> Books:
    """Plan the demo's visits of the last days, with orders on both sides of every border, and one break."""
    books, random = Books(zone), Random(5)
    for back in range(DAYS, 0, -1):
        day, truth = today - timedelta(days=back), GroundTruth()
        begin = datetime.combine(day, datetime.min.time(), zone).astimezone(UTC)
        end = datetime.combine(day + timedelta(days=1), datetime.min.time(), zone).astimezone(UTC)
        visits = [it for it in plan_visits(100 + back, 40, BUSY) if it.payments]
        times = sorted(begin + (end - begin) * random.random() for _ in visits)
        # The first and the last second of the day, and those of an hour.
        times[:2], times[-1] = (
            [begin + timedelta(seconds=1), begin + timedelta(hours=1, seconds=-1)],
            end - timedelta(seconds=1),
        )
        for at, visit in zip(sorted(times), visits, strict=True):
            code, channel = f"{day:%m%d}-{visit.number}", "b2b" if visit.wholesale else "default"
            # Retries of a payment are close together: none is on the other side of midnight.
            for place, outcome in enumerate(visit.payments):
                state = STATES.get(outcome, "Settled")
                when = at if state == "Settled" else at.replace(microsecond=place)
                truth.attempts.append(PaymentAttempt(code, visit.method, state, when))
            if visit.buys:
                net = random.randrange(100, 2_000_000)
                truth.orders.append(
                    PlacedOrder(
                        code, channel, CURRENCIES[channel], net, net * 11 // 10, "PaymentSettled", "", visit.method,
                        "", 0, at,
                    )
                )  # fmt: skip  # a line a field would hide what is made
        books.days[day] = truth
    yesterday = datetime.combine(today - timedelta(days=1), datetime.min.time(), zone).astimezone(UTC)
    books.down = yesterday + timedelta(hours=5), yesterday + timedelta(hours=5) + DOWN
    return books


def write_tables(shop: Vendure, books: Books) -> None:
    """Write the books as Vendure's processes write its tables."""
    for truth in books.days.values():
        placed = {it.code: it for it in truth.orders}
        ids = {
            code: shop.order(code, it.at, net=it.net, gross=it.gross, currency=it.currency, channels=(it.channel,))
            for code, it in placed.items()
        }
        for code in truth.unpaid:
            ids[code] = shop.order(code, state="ArrangingPayment")
        for it in truth.attempts:
            shop.payment(ids[it.order], it.at, it.state, method=it.method)


def write_checks(file: Path, books: Books, today: date) -> Path:
    """Write the results of toban's check of the shop, each minute of yesterday."""
    begin = datetime.combine(today - timedelta(days=1), datetime.min.time(), books.zone).astimezone(UTC)
    end = datetime.combine(today, datetime.min.time(), books.zone).astimezone(UTC)
    lines, at = ["# TYPE vendure_shop_check_up gauge"], begin
    while at < end:
        is_up = not books.down[0] <= at < books.down[1]
        lines.append(f'vendure_shop_check_up{{step="search"}} {is_up:d} {at.timestamp():.0f}')
        at += timedelta(minutes=1)
    file.write_text("\n".join([*lines, "# EOF", ""]))
    return file


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "Asia/Kolkata", "America/St_Johns"])
async def test_every_figure_of_an_owners_day_equals_the_demos_books(tmp_path, zone):
    shop_zone = ZoneInfo(zone)
    today = datetime.now(shop_zone).date()
    yesterday, before = today - timedelta(days=1), today - timedelta(days=2)
    books = make_books(shop_zone, today)
    with servers.postgres() as server, vendure(server) as shop:
        await asyncio.to_thread(write_tables, shop, books)
        settings = {
            "collect": [{"kind": "vendure_db", "interval": "1s"}],
            "alerting": {"rules": []},
            "notify": {"timezone": zone},
        }
        (tmp_path / "toban.yaml").write_text(yaml.safe_dump(settings))
        with toban(tmp_path / "data", DATABASE_URL=shop.url) as program:
            await asyncio.to_thread(check_report, program, books, yesterday, before, tmp_path, today)


def check_report(program: Program, books: Books, yesterday: date, before: date, folder: Path, today: date) -> None:
    """Compare the report of yesterday with the books."""
    program.until("is on duty")
    assert program.run("import", str(write_checks(folder / "checks.txt", books, today))).returncode == 0
    truth = books.days[yesterday]
    total = sum(len(it.orders) for it in books.days.values())
    eventually(lambda: program.value("sum(vendure_orders_created_total)"), lambda it: it == total)
    failed = sum(sum(it.failed_attempts.values()) for it in books.days.values())
    eventually(lambda: program.value("sum(vendure_payments_failed_total)"), lambda it: it == failed)
    shown = {
        form: program.run("report", "--period", "day", "--day", str(yesterday), "--format", form).stdout
        for form in ("json", "markdown", "html")
    }
    report = json.loads(shown["json"])
    assert not report["missing"]

    sales, hours = report["sales"], books.hours(yesterday)
    assert (sales["orders"]["value"], sales["orders"]["before"]) == (len(truth.orders), len(books.days[before].orders))
    revenue, revenue_before = books.revenue(yesterday), books.revenue(before)
    assert {of: (it["value"], it["before"]) for of, it in sales["revenue"].items()} == {
        of: (pytest.approx(revenue.get(of), abs=1e-6), pytest.approx(revenue_before.get(of), abs=1e-6))
        for of in {*revenue, *revenue_before}
    }
    assert [it["orders"] for it in sales["slots"]] == [hours[hour] for hour in range(len(sales["slots"]))]
    assert sum(sum(it["revenue"].values()) for it in sales["slots"]) == pytest.approx(sum(revenue.values()))
    lost = len(truth.unpaid)
    conversion = len(truth.orders) / (len(truth.orders) + lost)
    assert sales["conversion"]["value"] == pytest.approx(conversion)

    refused: Counter[str] = Counter()
    for (method, _), many in truth.failed_attempts.items():
        refused[method] += many
    assert {it["method"]: it["failed"] for it in report["payments"]} == dict(refused)
    down = report["availability"]
    assert (down["minutes_down"], down["minutes_seen"]) == (DOWN / timedelta(minutes=1), down["minutes"])

    best = max(hours.values())
    for form in ("markdown", "html"):
        text = shown[form].replace("\\", "").replace("\u00a0", " ")
        amounts = [format_money(it, of, compact=False) for of, it in revenue.items()]
        # There are no weeks to compare with: nothing is claimed about the cost.
        unknown = "What that cost is not known: there is too little to compare with."
        for figure in ("31 min were lost", unknown, f"{best} orders", f"{conversion:.1%}".replace("%", " %"), *amounts):
            assert figure in text, (form, figure)
        for method, many in refused.items():
            cells = f"| {method} | {many} |" if form == "markdown" else f"{method}</td>"
            assert cells in text
