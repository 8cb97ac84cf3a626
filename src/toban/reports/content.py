"""Writes the content of a report in a language: sentences, tables and charts."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

from toban.charts.plot import BarChart
from toban.core.impact import Impact
from toban.core.message_catalogue import catalogue
from toban.core.number_format import MISSING, Unit, format_money, format_value
from toban.incidents.duty_report import PersonDuty
from toban.reports.blocks import Block, Bullets, Chart, Content, Heading, Paragraph, Table
from toban.reports.period import Period, Span
from toban.reports.report import (
    Audience,
    BackupLine,
    Comparison,
    ForecastLine,
    IncidentLine,
    Report,
    SalesSection,
    Slot,
)

FORECASTS: Final = 5
"""How many resources are listed."""
SOON: Final = timedelta(days=90)
"""Owners read of what is full within this time."""
FINDINGS: Final = 5


def write(report: Report, language: str) -> Content:
    """Return the content of a report in a language."""
    writer = Writer(report, language)
    return Content(language, writer.title(), list(writer.blocks()), writer.footer(), writer.link())


class Writer:
    """Writes one report."""

    def __init__(self, report: Report, language: str) -> None:
        self._report = report
        self._language = language
        self._say: Mapping[str, str] = catalogue("toban.reports", language)

    def title(self) -> str:
        """Return the title: the shop and the time."""
        name = self._say[f"title-{self._report.audience.value}"].format(span=self._span(self._report.span))
        return f"{self._report.shop}: {name}" if self._report.shop else name

    def link(self) -> str:
        """Return the address of the report's page."""
        report = self._report
        if not report.address:
            return ""
        where = f"period={report.span.period.value}&day={report.span.first}&audience={report.audience.value}"
        return f"{report.address.rstrip('/')}/reports?{where}"

    def footer(self) -> str:
        """Return when it was made, and the zone of its times."""
        return self._say["footer"].format(at=self._time(self._report.made), zone=self._report.span.zone.key)

    def blocks(self) -> Iterator[Block]:
        """Yield the blocks of the report, the most important first."""
        report, say = self._report, self._say
        yield Paragraph(self._lead(), is_lead=True)
        if report.sales:
            yield Heading(say["sales"])
            yield from self._sales(report.sales)
        yield Heading(say["incidents"])
        yield from self._incidents()
        if report.levels:
            yield Heading(say["levels"])
            yield self._levels()
        if report.payments:
            yield Heading(say["payments"])
            yield self._payments()
        if report.speed:
            yield Heading(say["speed"])
            yield self._speed()
        if report.backup:
            yield Heading(say["backups"])
            yield Paragraph(self._backup(report.backup))
        yield from self._outlook()
        if report.audience is Audience.ENGINEER:
            yield from self._engineering()
        if report.missing:
            yield Heading(say["missing"])
            yield Bullets([f"{say.get(name, name)}: {reason}" for name, reason in report.missing.items()])

    def _lead(self) -> str:
        """Return whether customers could buy, in one sentence or two."""
        report, say = self._report, self._say
        seen = report.availability
        sentences = []
        if seen is None or seen.share is None:
            sentences.append(say["lead-unknown"])
        elif seen.minutes_down < 1:
            sentences.append(say["lead-up"])
        else:
            share, lost = self._percent(seen.share, 2), self._length(seen.minutes_down * 60)
            sentences.append(say["lead-down"].format(share=share, lost=lost))
        if seen is not None and seen.minutes_blind >= 5:
            sentences.append(say["lead-blind"].format(blind=self._length(seen.minutes_blind * 60)))
        if report.incidents:
            sentences.append(say["lead-incidents"].format(count=len(report.incidents)))
        if lost_money := report.lost:
            sentences.append(say["lead-cost"].format(cost=self._cost(lost_money)))
        elif report.incidents or (seen and seen.minutes_down >= 1):
            sentences.append(say["lead-cost-unknown"])
        return ("" if self._language == "ja" else " ").join(sentences)

    def _sales(self, sales: SalesSection) -> Iterator[Block]:
        say, span = self._say, self._report.span
        compared = [sales.orders, *sales.revenue.values()]
        rows = [say["orders"], *(say["revenue"].format(currency=it) for it in sales.revenue)]
        columns = [["", *rows], *self._against(compared, list(sales.revenue), span)]
        if sales.conversion.value is not None:
            for column, shown in zip(columns, self._conversion(sales.conversion), strict=False):
                column.append(shown)
        yield Table([it[0] for it in columns], list(zip(*(it[1:] for it in columns), strict=True)))
        if sales.unknown:
            yield Paragraph(say[f"sales-unknown-{span.period.value}"].format(count=sales.unknown))
        if best := sales.best:
            worst = sales.worst or best
            names = self._slot_name(sales.slots[0]), self._slot_name(sales.slots[-1])
            text = say["best-and-worst"].format(
                best=self._slot_name(best),
                most=self._count(best.orders),
                worst=self._slot_name(worst),
                least=self._count(worst.orders),
            )
            highest = say["orders-number"].format(count=self._count(best.orders))
            yield Chart(BarChart([it.orders for it in sales.slots], names, highest), text)
            yield Paragraph(text)

    def _against(self, compared: Sequence[Comparison], currencies: Sequence[str], span: Span) -> Iterator[list[str]]:
        """Yield the columns of a comparison with their headings; that of a year ago only where something is known."""
        say = self._say
        currency_of = ["", *currencies]

        def shown(values: Sequence[float | None]) -> list[str]:
            pairs = zip(values, currency_of, strict=True)
            return [
                MISSING if value is None else self._money(value, currency) if currency else f"{value:,.0f}"
                for value, currency in pairs
            ]

        yield [self._span(span), *shown([it.value for it in compared])]
        yield [say["before"], *shown([it.before for it in compared])]
        yield [say["change"], *(self._change(it.change(it.before)) for it in compared)]
        if any(it.year_before is not None for it in compared):
            yield [say["year-before"], *shown([it.year_before for it in compared])]
            yield [say["change"], *(self._change(it.change(it.year_before)) for it in compared)]

    def _conversion(self, share: Comparison) -> Iterator[str]:
        """Yield the row of the share of checkouts that became orders; its changes are points of a percent."""

        def change(other: float | None) -> str:
            if share.value is None or other is None:
                return MISSING
            return self._say["points"].format(points=f"{(share.value - other) * 100:+.1f}")

        def shown(value: float | None) -> str:
            return MISSING if value is None else self._percent(value, 1)

        yield self._say["conversion"]
        yield from (shown(share.value), shown(share.before), change(share.before))
        yield from (shown(share.year_before), change(share.year_before))

    def _incidents(self) -> Iterator[Block]:
        say, found = self._say, self._report.incidents
        if not found:
            yield Paragraph(say["incidents-none"])
            return
        headings = ["", say["began"], say["lasted"], say["answered"], say["cost"]]
        yield Table(headings, [self._incident(it) for it in found], frozenset({0, 1}))
        if still_open := sum(it.open_items for it in found):
            yield Paragraph(say["items-open"].format(count=still_open))

    def _incident(self, it: IncidentLine) -> list[str]:
        say = self._say
        return [
            f"{it.priority} #{it.id} {it.title}",
            self._time(it.starts),
            self._length(((it.resolved or self._report.made) - it.starts).total_seconds())
            + ("" if it.resolved else f" ({say['open']})"),
            self._length(it.to_acknowledge.total_seconds()) if it.to_acknowledge is not None else say["nobody"],
            self._cost(it.impact) if it.impact else MISSING,
        ]

    def _levels(self) -> Table:
        say = self._say

        def shown(share: float | None, digits: int = 2) -> str:
            return MISSING if share is None else self._percent(share, digits)

        rows = [
            [it.name, shown(it.target), shown(it.reached), shown(it.outside_planned), shown(it.left, 0)]
            for it in self._report.levels
        ]
        return Table([say["level"], say["target"], say["reached"], say["outside-planned"], say["budget-left"]], rows)

    def _payments(self) -> Table:
        say = self._say
        rows = [
            [it.method, f"{it.failed:,.0f}", MISSING if it.before is None else f"{it.before:,.0f}", it.error]
            for it in self._report.payments
        ]
        return Table([say["method"], say["failed"], say["before"], say["error"]], rows, frozenset({0, 3}))

    def _speed(self) -> Table:
        say = self._say
        rows = [
            [
                it.operation,
                f"{it.requests:,.0f}",
                format_value(it.median, Unit.SECONDS),
                format_value(it.p95, Unit.SECONDS),
                format_value(it.p95_before, Unit.SECONDS),
            ]
            for it in self._report.speed
        ]
        return Table([say["operation"], say["requests"], say["median"], say["p95"], say["p95-before"]], rows)

    def _backup(self, it: BackupLine) -> str:
        """Return whether a backup was proved, in one sentence."""
        say = self._say
        if not it.is_proved:
            return say["backup-failed"].format(at=self._time(it.at), reason=it.text)
        return say["backup-proved"].format(
            at=self._time(it.at),
            restored=MISSING if it.restored is None else self._length(it.restored.total_seconds()),
            lost=MISSING if it.lost is None else self._length(it.lost.total_seconds()),
        )

    def _outlook(self) -> Iterator[Block]:
        """Yield what is full soon; engineers read of the fullest resources in any case."""
        report, say = self._report, self._say
        soon = [it for it in report.forecasts if it.full and it.full < report.made + SOON]
        shown: Sequence[ForecastLine] = report.forecasts[:FORECASTS] if report.audience is Audience.ENGINEER else soon
        if not shown:
            return
        yield Heading(say["outlook"])
        rows = [[self._resource(it), self._percent(it.share, 0), self._full(it), self._season(it)] for it in shown]
        yield Table(["", say["used"], say["full"], say["season"]], rows, frozenset({0, 2, 3}))

    def _season(self, it: ForecastLine) -> str:
        """Return how the growth of last year went on in the coming weeks."""
        return self._say["season-unknown"] if it.season is None else f"× {it.season:.1f}"

    def _resource(self, it: ForecastLine) -> str:
        key, _, name = it.resource.partition(" ")
        return f"{self._say.get(f'resource-{key}', key)} {name}".strip()

    def _full(self, it: ForecastLine) -> str:
        say = self._say
        if it.full is None:
            earliest = f" ({say['earliest'].format(at=self._date(it.earliest))})" if it.earliest else ""
            return f"{say['not-in-sight']}{earliest}"
        earliest, latest = self._date(it.earliest), self._date(it.latest) if it.latest else say["not-in-sight"]
        return f"{self._date(it.full)} ({earliest} – {latest})"

    def _engineering(self) -> Iterator[Block]:
        report, say = self._report, self._say
        if report.duty:
            yield Heading(say["duty"])
            headings = ["", say["on-call"], say["pages"], say["pages-at-night"], say["answers"], say["in-time"]]
            yield Table(headings, [self._duty(it) for it in report.duty])
        if report.maintenance:
            yield Heading(say["maintenance"])
            rows = [[it.task, str(it.runs), str(it.failed), it.last] for it in report.maintenance]
            yield Table([say["task"], say["runs"], say["failed"], say["last-run"]], rows, frozenset({0, 3}))
            if found := [f"{it.task}: {text}" for it in report.maintenance for text in it.findings[:FINDINGS]]:
                yield Bullets(found)
        if report.deploys:
            yield Heading(say["deploys"])
            yield Bullets([f"{self._time(it.at)} {it.version} {it.by}".rstrip() for it in report.deploys])

    def _duty(self, it: PersonDuty) -> list[str]:
        on_call = MISSING if it.on_call is None else f"{it.on_call / timedelta(hours=1):,.1f} h"
        counts = [str(count) for count in (it.pages, it.pages_at_night, it.answered)]
        return [it.person, on_call, *counts, str(it.in_time) if it.answered else MISSING]

    # How values are written.

    def _count(self, value: float | None) -> str:
        return MISSING if value is None else f"{value:,.0f}"

    def _span(self, span: Span) -> str:
        first, last = span.first, span.last
        if span.period is Period.DAY:
            return f"{first:%Y-%m-%d}" if self._language == "en" else f"{first.year}年{first.month}月{first.day}日"
        if span.period is Period.MONTH:
            return f"{first:%Y-%m}" if self._language == "en" else f"{first.year}年{first.month}月"
        return f"{first:%Y-%m-%d} – {last:%m-%d}" if self._language == "en" else f"{first:%Y/%m/%d}〜{last:%m/%d}"

    def _slot_name(self, slot: Slot) -> str:
        local = slot.begins.astimezone(self._report.span.zone)
        return f"{local:%H:%M}" if self._report.span.period is Period.DAY else f"{local:%m-%d}"

    def _time(self, at: datetime) -> str:
        return f"{at.astimezone(self._report.span.zone):%Y-%m-%d %H:%M}"

    def _date(self, at: datetime | None) -> str:
        return f"{at.astimezone(self._report.span.zone):%Y-%m-%d}" if at else MISSING

    def _length(self, seconds: float) -> str:
        return format_value(max(60.0, seconds), Unit.SECONDS) if seconds else "0 min"

    def _percent(self, share: float, digits: int) -> str:
        return f"{share:.{digits}%}".replace("%", "\u00a0%")

    def _change(self, change: float | None) -> str:
        return MISSING if change is None else f"{change:+.0%}".replace("%", "\u00a0%")

    def _money(self, value: float, currency: str) -> str:
        """Return an amount in full digits, as in a table of accounts."""
        return format_money(value, currency, self._language, compact=False)

    def _cost(self, impact: Impact) -> str:
        """Return what an outage cost, with how uncertain that is."""
        amounts = [
            format_money(it, impact.currency, self._language) for it in (impact.missing, impact.least, impact.most)
        ]
        return self._say["cost-range"].format(amount=amounts[0], least=amounts[1], most=amounts[2])
