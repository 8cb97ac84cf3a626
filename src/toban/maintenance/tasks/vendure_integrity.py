"""Look for rows of the shop that contradict each other, and change nothing."""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, ClassVar, Final, Literal

from toban.core.config_types import Duration
from toban.core.errors import ActionError
from toban.core.redaction import redact_text
from toban.core.samples import MetricFamily, gauge
from toban.core.schedule import Schedule
from toban.maintenance import shop_rows
from toban.maintenance.inspection import Inspection
from toban.maintenance.shop_rows import ReadableTables
from toban.maintenance.task import Finding, Severity, TaskPlan, TaskTools
from toban.maintenance.vendure_checks import CHECKS, ORPHANS, REFERENCES, SHOWN, Check
from toban.shop.admin_database import quoted
from toban.shop.settings import ShopSettings

FOUND: Final = gauge(
    "toban_vendure_integrity_rows", "Rows of the shop that contradict others, of all checks.", labels=("task",)
)
ALL: Final = (*CHECKS, ORPHANS)
MAX_TEXT: Final = 100
UNREFERENCED: Final = "NOT EXISTS (SELECT FROM {} WHERE {} = a.id)"


class VendureIntegrity(Inspection):
    """
    Look for stock that is negative or differs from its movements, promotions past their end, a search index that is not
    the catalogue, orders whose totals are not those of their lines, that are paid and not placed or still carts, and
    assets that nothing refers to.

    Each finding has a number, a few ids, and what to do. A check that this shop has no tables for is left out.
    """

    kind: Literal["vendure_integrity"] = "vendure_integrity"
    target: ClassVar[str] = "integrity"
    metrics: ClassVar[Sequence[MetricFamily]] = (FOUND,)

    cron: Schedule = "30 5 * * *"

    skip: tuple[Literal[tuple(it.name for it in ALL)], ...] = ()  # type: ignore[valid-type]  # the names of the checks
    """Checks to leave out."""

    timeout: Duration = timedelta(minutes=10)

    def not_configured(self, settings: ShopSettings) -> str:
        """It reads the database."""
        return shop_rows.not_configured(settings)

    async def missing(self, tools: TaskTools) -> str:
        """Return the grants that are missing. Raises ``ActionError``."""
        tables = await self._tables(tools)
        return "; ".join(sorted({grant for check in self._checks() for grant in tables.grants(check.needed)}))

    async def plan(self, tools: TaskTools) -> TaskPlan:
        """Do all checks. Raises ``ActionError``."""
        tables = await self._tables(tools)
        findings, done, found, absent = list[Finding](), 0, 0, list[str]()
        for check in self._checks():
            if lacks := tables.absent(check.needed):
                absent.append(f"{check.name} ({lacks[0]})")
                continue
            if grants := tables.grants(check.needed):
                text = f"the check {check.name} can't read what it needs"
                findings.append(Finding(f"rights {check.name}", text, Severity.WARNING, "; ".join(grants)))
                continue
            try:
                rows = await self._rows(check, tools)
            except ActionError as error:
                findings.append(Finding(check.name, f"it could not be checked: {error}", Severity.WARNING))
                continue
            done += 1
            if rows:
                found += rows[0]["total"]
                findings.append(_finding(check, rows))
        if not done:
            reasons = [f"this shop has no {', '.join(absent)}"] if absent else []
            raise ActionError("; ".join(["no check could be done", *reasons, *(it.text for it in findings)]))
        text = f"{done} checks done, {found:,} rows contradict others"
        if absent:
            text += f"; not in this shop: {', '.join(absent)}"
        return TaskPlan((), findings, text, {FOUND.name: float(found)})

    def _checks(self) -> Sequence[Check]:
        return [it for it in ALL if it.name not in self.skip]

    async def _tables(self, tools: TaskTools) -> ReadableTables:
        return await shop_rows.readable_tables(tools, {table for check in ALL for table in check.needed})

    async def _rows(self, check: Check, tools: TaskTools) -> Sequence[Mapping[str, Any]]:
        given = {"zone": tools.shop.settings.timezone, "shown": SHOWN}
        query = check.query
        if check is ORPHANS:
            references = await shop_rows.read(tools, REFERENCES, given)
            parts = [UNREFERENCED.format(quoted(it["name"]), quoted(it["column"])) for it in references]
            unreferenced = " AND ".join(parts) or "true"
            query = query.format(unreferenced=unreferenced.replace("%", "%%"))
        return await shop_rows.read(tools, query, given)


def _finding(check: Check, rows: Sequence[Mapping[str, Any]]) -> Finding:
    total = rows[0]["total"]
    # SKUs and codes are the shop's: they may be anything.
    named = "; ".join(f"{it['id']} ({redact_text(str(it['text']))[:MAX_TEXT]})" for it in rows)
    more = " and others" if total > len(rows) else ""
    return Finding(check.name, f"{total:,} {check.title}: {named}{more}", check.severity, check.remedy)
