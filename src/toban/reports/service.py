"""Makes reports, keeps those of times that are over for a while, and sends them."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Final
from zoneinfo import ZoneInfo

import orjson

from toban.core.actor import MAINTENANCE
from toban.core.errors import ActionError, InvalidCommandError, StateError
from toban.core.notification import Link, Notification
from toban.core.ports import Clock
from toban.maintenance.task import ReportOrder
from toban.reports.blocks import Content, Paragraph, Table
from toban.reports.builder import ReportBuilder
from toban.reports.content import write
from toban.reports.mail import as_mail, as_page
from toban.reports.period import Period, Span, last_complete, span_of
from toban.reports.rendering import as_data, as_markdown
from toban.reports.report import Audience, Report
from toban.state.audit_log import AuditEntry

KEPT: Final = timedelta(minutes=10)
"""How long a report is shown again instead of being made anew."""
MOST_KEPT: Final = 12
TIME_LIMIT: Final = 120.0
"""Seconds that making a report may take."""
SUMMARY_ROWS: Final = 6
"""Rows of the table of sales in a short message."""

MakeNotice = Callable[[str, str, str, Sequence[str]], Notification]
"""Returns a message for a channel: the channel, a name that distinguishes it, a title and lines."""


class ReportService:
    """Makes reports and sends them."""

    def __init__(
        self,
        builder: ReportBuilder,
        zone: ZoneInfo,
        language: str,
        notice: MakeNotice,
        send: Callable[[Notification, AuditEntry], Awaitable[None]],
        clock: Clock,
    ) -> None:
        """``zone`` is that of the shop, in which days begin; ``language`` that of notifications."""
        self.zone = zone
        self.language = language
        self._builder = builder
        self._notice = notice
        self._send_notice = send
        self._clock = clock
        self._made: OrderedDict[tuple[Span, Audience], asyncio.Future[Report]] = OrderedDict()

    def span(self, period: Period, day: date | None = None) -> Span:
        """
        Return the span that a day belongs to, by default the last one that is over.

        Raises ``InvalidCommandError`` where it has not begun.
        """
        now = self._clock.now()
        if day is None:
            return last_complete(period, now, self.zone)
        found = span_of(period, day, self.zone)
        if found.begins > now or found.first.year < 2000:
            raise InvalidCommandError(f"there is nothing to report of {day}: it has not begun", "day")
        return found

    async def report(self, span: Span, audience: Audience) -> Report:
        """Return the report of a span; requests share one for a while. Raises ``ActionError``."""
        key = (span, audience)
        task = self._made.get(key)
        if task is None or (task.done() and not self._is_fresh(task)):
            task = self._made[key] = asyncio.ensure_future(self._build(span, audience))
            self._made.move_to_end(key)
            while len(self._made) > MOST_KEPT:
                self._made.popitem(last=False)
        return await asyncio.shield(task)

    async def _build(self, span: Span, audience: Audience) -> Report:
        try:
            async with asyncio.timeout(TIME_LIMIT):
                return await self._builder.build(span, audience)
        except TimeoutError as error:
            raise ActionError(f"the report took longer than {TIME_LIMIT:.0f} seconds") from error

    def _is_fresh(self, task: "asyncio.Future[Report]") -> bool:
        if task.cancelled() or task.exception():
            return False
        return self._clock.now() - task.result().made < KEPT

    async def send(self, order: ReportOrder) -> str:
        """Make the report of the last span that is over, and send it. Raises ``ActionError``."""
        span = self.span(Period(order.period))
        report = await self.report(span, Audience(order.audience))
        content = write(report, order.language or self.language)
        if order.folder:
            written = await asyncio.to_thread(_write, Path(order.folder), order.name, report, content)
            return f"wrote {written}"
        name = f"report-{order.name}-{span.first}"
        message = self._notice(order.channel, name, content.title, summary(content))
        links = (Link(content.title, content.link),) if content.link else ()
        message = replace(message, links=links, language=content.language, document=as_mail(content))
        facts = {"report": order.name, "channel": order.channel}
        try:
            await self._send_notice(message, AuditEntry(self._clock.now(), MAINTENANCE, "sent a report", facts))
        except StateError as error:
            raise ActionError(f"the report can't be sent: {error}") from error
        return f"sent the report of {span.first} to {order.channel}"


def summary(content: Content) -> list[str]:
    """Return the lines of a short message: the lead, and what was sold."""
    lines = [it.text for it in content.blocks if isinstance(it, Paragraph) and it.is_lead]
    table = next((it for it in content.blocks if isinstance(it, Table)), None)
    if table:
        lines += [f"{row[0]}: {row[1]} ({table.headings[2]}: {row[2]}, {row[3]})" for row in table.rows[:SUMMARY_ROWS]]
    return lines


def _write(folder: Path, name: str, report: Report, content: Content) -> str:
    """Write a report as HTML, Markdown and JSON, each complete or not at all. Raises ``ActionError``."""
    stem = f"{name}-{report.span.first}"
    files = {
        ".html": as_page(content).encode(),
        ".md": as_markdown(content).encode(),
        ".json": orjson.dumps(as_data(report), option=orjson.OPT_INDENT_2),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for suffix, body in files.items():
            unfinished = folder / f".{stem}{suffix}.part"
            unfinished.write_bytes(body)
            unfinished.replace(folder / f"{stem}{suffix}")
    except OSError as error:
        raise ActionError(f"{folder}: {error.strerror}") from error
    return str(folder / f"{stem}.html")
