"""A real browser before a running toban."""

import json
import os
import shutil
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.browser.shop_history import write_history
from tests.needs import need
from tests.program import Program, toban

CONFIGURATION = """
channels:
  ops: {kind: webhook, url: "http://127.0.0.1:9/hook"}
on_call:
  people:
    ann: {name: Ann}
    hana: {name: 花}
  layers:
    - {name: weeks, people: [ann, hana], from: 2026-01-05, restrictions: [{from: "09:00", to: "07:00"}]}
    - {name: saturdays, people: [hana], restrictions: [{days: sat}]}
status_page: {enabled: true}
reports:
  daily: {period: day, folder: /nonexistent/reports}
slo:
  host: {target: 99.5, good: 'up{job="host"} == 1', interval: 5s}
  orders: {target: 99, total: vendure_orders_created_total, bad: vendure_orders_failed_total}
notify:
  timezone: Asia/Tokyo
  maintenance_windows:
    - {name: backup, cron: "0 3 * * *", for: 30m, matchers: ['alertname="backup_too_old"']}
"""
ZONE = "Asia/Tokyo"
DESK, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


# Not for the session: while Playwright runs, so does its event loop, and asyncio tests on the same worker fail.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Run a browser without a window."""
    program = need("chromium", shutil.which("chromium"))
    with sync_playwright() as playwright:
        # Root has no sandbox.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


def labels_of(name: str, severity: str = "critical") -> dict[str, str]:
    """Return the labels of a posted alert."""
    return {"alertname": name, "severity": severity, "instance": "web-1"}


def post_alert(url: str, name: str, *, severity: str = "critical", ends_in: int = 3_600, **annotations: str) -> None:
    """Post an alert as Alertmanager's clients do."""
    ends = (datetime.now(UTC) + timedelta(seconds=ends_in)).isoformat()
    labels = labels_of(name, severity)
    body = json.dumps([{"labels": labels, "annotations": annotations, "endsAt": ends}]).encode()
    request = urllib.request.Request(f"{url}/api/v2/alerts", body, {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=30):
        pass


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Program]:
    """Run toban with the history of a shop, and two alerts."""
    folder: Path = tmp_path_factory.mktemp("console")
    (folder / "toban.yaml").write_text(CONFIGURATION, encoding="utf-8")
    write_history(folder / "history.om", datetime.now(UTC))
    with toban(folder / "data", TZ="UTC") as program:
        program.until("is on duty")
        imported = program.run("import", str(folder / "history.om"))
        assert imported.returncode == 0, imported.stderr
        declared = program.run("incidents", "declare", "Customers can't pay", "--text", "PayPal answers 503")
        assert declared.stdout == "#1 is declared\n", declared.stderr
        assert program.run("run", "application_down", "--dry").returncode == 0
        assert program.run("maintenance", "run", "metrics_retention", "--dry").returncode == 0
        tried = program.run("rules", "backtest", "disk_usage_high", "--from", "1h")
        assert tried.returncode == 0, tried.stderr
        post_alert(
            program.url,
            "disk_usage_high",
            summary="The disk of web-1 is nearly full",
            summary_ja="web-1 のディスクが逼迫しています",
            value="91 %",
            limit="85 %",
            action="Delete old logs, or enlarge the volume.",
        )
        post_alert(program.url, "queue_growing", severity="warning", summary="Jobs pile up in send-email")
        yield program


class Visitor:
    """
    Somebody who was here before, so that the time zone is known; what the browser complains about is collected.
    """

    def __init__(
        self,
        browser: Browser,
        url: str,
        *,
        language: str = "en",
        dark: bool = False,
        phone: bool = False,
        touch: bool = False,
    ):
        self.context = browser.new_context(
            base_url=url,
            locale={"en": "en-US", "ja": "ja-JP"}[language],
            color_scheme="dark" if dark else "light",
            viewport=PHONE if phone else DESK,
            timezone_id=ZONE,
            reduced_motion="reduce",
            has_touch=touch,
        )
        self.context.add_cookies([{"name": "toban_timezone", "value": ZONE, "url": url}])
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.foreign: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda it: self.complaints.append(it.text) if it.type in {"error", "warning"} else None)
        self.page.on("request", lambda it: self.foreign.append(it.url) if not it.url.startswith(url) else None)

    def open(self, path: str) -> Page:
        self.page.goto(path)
        return self.page

    def picture(self, name: str) -> bytes:
        """Take a picture of the whole page; keep it in the folder that TOBAN_PICTURES names."""
        folder = os.environ.get("TOBAN_PICTURES")
        path = Path(folder) / f"{name}.png" if folder else None
        return self.page.screenshot(full_page=True, path=path)


@pytest.fixture
def visitor(browser: Browser, console: Program) -> Iterator[Visitor]:
    """Open a browser at a desk, in English."""
    visitor = Visitor(browser, console.url)
    yield visitor
    visitor.context.close()
