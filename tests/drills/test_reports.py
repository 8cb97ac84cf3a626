"""A report of the whole program: imported books, a mail by SMTP, the page, the terminal and a folder say the same."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import yaml

from tests.fake_smtp import FakeSmtp
from tests.program import toban

DAYS = 9


def books(folder):
    """Write a counter of orders, one every half hour and more each day; return it with the orders of each full day."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    at, total, counts = today - timedelta(days=DAYS), 100, {}
    lines = ["# TYPE vendure_orders_created counter"]
    revenue = ["# TYPE vendure_revenue counter"]
    while at <= today:
        lines.append(f'vendure_orders_created_total{{channel="default"}} {total} {at.timestamp():.0f}')
        revenue.append(f'vendure_revenue_total{{currency="EUR"}} {total * 50} {at.timestamp():.0f}')
        placed = DAYS - (today - at).days + 1
        total += placed
        if at < today:
            counts[at.date()] = counts.get(at.date(), 0) + placed
        at += timedelta(minutes=30)
    file = folder / "books.txt"
    file.write_text("\n".join([*lines, *revenue, "# EOF", ""]))
    return file, counts


async def test_a_report_says_the_same_by_mail_on_the_page_and_in_the_terminal(tmp_path):
    file, counts = books(tmp_path)
    yesterday = max(counts)
    async with FakeSmtp(tmp_path) as mail:
        settings = {
            "shop": {"name": "Kiosk"},
            "collect": [],
            "alerting": {"rules": []},
            "notify": {"language": "ja"},
            "channels": {
                "mail": {
                    "kind": "email",
                    "host": "127.0.0.1",
                    "port": mail.port,
                    "ca": str(mail.ca),
                    "username": mail.user,
                    "password": mail.password,
                    "sender": "reports@example.com",
                    "to": ["owner@example.com"],
                }
            },
            "reports": {"daily": {"period": "day", "to": ["mail"], "folder": str(tmp_path / "reports")}},
        }
        (tmp_path / "toban.yaml").write_text(yaml.safe_dump(settings))
        with toban(tmp_path / "data") as program:
            await asyncio.to_thread(program.until, "is on duty")

            async def run(*arguments):
                done = await asyncio.to_thread(program.run, *arguments)
                assert done.returncode == 0, done.stderr + done.stdout
                return done.stdout

            await run("import", str(file))
            ran = json.loads(await run("maintenance", "run", "daily", "--json"))
            assert ran["state"] == "succeeded", ran["text"]
            async with asyncio.timeout(30):
                while not mail.mails:  # noqa: ASYNC110  # the server of this test has no event for it
                    await asyncio.sleep(0.05)
            said = json.loads(await run("report", "--period", "day", "--format", "json"))
            text = await run("report", "--period", "day")
            _, page = await asyncio.to_thread(program.get, f"/reports?period=day&day={yesterday}")
        wanted = f"{counts[yesterday]:,}"
        assert said["sales"]["orders"]["value"] == counts[yesterday]
        assert said["sales"]["orders"]["before"] == counts[yesterday - timedelta(days=1)]
        message = mail.mails[0].message
        assert f"ショップのレポート {yesterday.year}年{yesterday.month}月{yesterday.day}日" in message["Subject"]
        bodies = {part.get_content_type(): part.get_content() for part in message.walk() if not part.is_multipart()}
        assert bodies["image/png"].startswith(b"\x89PNG")
        written = (tmp_path / "reports" / f"daily-{yesterday}.md").read_text()
        for shown in (text, page, bodies["text/plain"], bodies["text/html"], written):
            assert wanted in shown
