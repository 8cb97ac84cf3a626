"""Prove the newest backup: restore it into a PostgreSQL that is thrown away, and look what is in it."""

import asyncio
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator

from toban.core import connection_urls
from toban.core.config_types import Duration, Secret, Text, require_scheme
from toban.core.errors import ActionError
from toban.core.number_format import Unit, format_bytes, format_value
from toban.core.samples import MetricFamily, gauge
from toban.core.schedule import Schedule
from toban.maintenance.backups import drill_database, drill_server, places
from toban.maintenance.backups.archive import Archive, Manifest, archives, own_time, read_manifest
from toban.maintenance.backups.comparison import DatabaseComparison
from toban.maintenance.backups.contents import ArchiveReader, load_identities
from toban.maintenance.backups.drill_database import DrillDatabase
from toban.maintenance.backups.errors import BackupError, Problem
from toban.maintenance.backups.live_database import LiveDatabase, pg_restore_for_server
from toban.maintenance.backups.programs import backup_program
from toban.maintenance.backups.restore import Restore, fetch
from toban.maintenance.task import (
    Finding,
    Severity,
    Step,
    StepContext,
    StepFailedError,
    StepResult,
    Task,
    TaskPlan,
    TaskTools,
)
from toban.shop.admin_database import AdminDatabase
from toban.shop.settings import ShopSettings

PROVED: Final = gauge(
    "toban_restore_drill_proved", "Whether the last drill has proved a backup (1) or not (0).", labels=("task",)
)
SUCCESS: Final = gauge(
    "toban_restore_drill_success_timestamp_seconds",
    "When a drill has proved a backup last, in seconds since the epoch.",
    "seconds",
    labels=("task",),
)
RPO: Final = gauge(
    "toban_restore_drill_recovery_point_seconds",
    "Age of the newest backup at the drill: what would be lost (RPO).",
    "seconds",
    labels=("task",),
)
RTO: Final = gauge(
    "toban_restore_drill_recovery_time_seconds",
    "How long fetching and restoring the backup took (RTO).",
    "seconds",
    labels=("task",),
)
NEWEST_ORDER: Final = gauge(
    "toban_restore_drill_newest_order_timestamp_seconds",
    "When the newest order in the backup was placed, in seconds since the epoch.",
    "seconds",
    labels=("task",),
)
ORDERS: Final = gauge("toban_restore_drill_orders", "Orders in the backup of the last drill.", labels=("task",))

DISK_FACTOR: Final = 2
"""How much free disk a drill needs, in sizes of the database."""
PACKED: Final = 5
"""How much larger a database is than its dump, where its size is not known."""
QUERY_SECONDS: Final = 300
"""Seconds that one query on the restored copy may take: nobody else uses it."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """The backup of a drill."""

    archive: Archive
    manifest: Manifest | None


class RestoreDrill(Task):
    """
    Restore the newest backup into a PostgreSQL that is thrown away, and compare it with the shop.

    It looks for missing orders and payments, broken relations, passwords, and the version of the schema, and measures
    how much would be lost (RPO) and how long a restore takes (RTO). The PostgreSQL is that of the extra `backups`, on
    this machine and reached by a socket only, or a database of its own on another `server`. It is named
    `toban_drill_…`, and nothing of another name is ever dropped.
    """

    kind: Literal["restore_drill"] = "restore_drill"
    target: ClassVar[str] = "backups"
    cleans_at_start: ClassVar[bool] = True
    metrics: ClassVar[Sequence[MetricFamily]] = (PROVED, SUCCESS, RPO, RTO, NEWEST_ORDER, ORDERS)

    cron: Schedule = "0 5 1 * *"

    may_start_late: Duration = timedelta(hours=12)

    files: Text = ""
    """Pattern of the backups' names, like `*.dump`; by default those that toban writes."""

    max_age: Duration = timedelta(hours=26)
    """The highest allowed age of the newest backup: how much may be lost."""

    server: (
        Annotated[Secret, require_scheme("postgres", "postgresql"), AfterValidator(connection_urls.libpq_url)] | None
    ) = None
    """A PostgreSQL for drills, with a role that may create databases; by default one on this machine."""

    scratch: Path | None = None
    """Where backups are unpacked on this machine; by default toban's data folder, for root the temporary folder."""

    timeout: Duration = timedelta(hours=4)

    def not_configured(self, settings: ShopSettings) -> str:
        """It needs a place with backups."""
        return "" if settings.backups else places.NO_PLACE

    async def missing(self, tools: TaskTools) -> str:
        """Return that there is no backup, no program, no server, or no key."""
        try:
            candidate = await self._newest(tools)
            await self._pg_restore(tools, candidate)
            if self.server is None:
                drill_server.server_programs(tools.shop.settings.pg_bin)
            if candidate.archive.is_encrypted and not load_identities(places.settings(tools)):
                return f"{candidate.archive.name} is encrypted: set shop.backups.identity_file"
        except BackupError as error:
            return str(error)
        return ""

    async def missing_programs(self, tools: TaskTools) -> str:
        """Return that pg_restore or the server for a drill is missing, or too old. Raises ``ActionError``."""
        await pg_restore_for_server(tools)
        if self.server is None:
            drill_server.server_programs(tools.shop.settings.pg_bin)
        return ""

    async def clean(self, tools: TaskTools) -> str:
        """Remove the folders and databases that drills of ended processes have left. Raises ``ActionError``."""
        now = tools.clock.now()
        folder = drill_server.scratch_folder(self.scratch, tools.data)
        folders = await asyncio.to_thread(drill_server.sweep_folders, folder)
        databases = await drill_database.sweep(self.server, now, folders) if self.server else []
        removed = [f"folder {it}" for it in folders] + [f"database {it}" for it in databases]
        return f"removed what interrupted drills have left: {', '.join(removed)}" if removed else ""

    async def plan(self, tools: TaskTools) -> TaskPlan:
        """Choose the newest backup."""
        candidate = await self._newest(tools)
        archive = candidate.archive
        where = "a PostgreSQL on this machine" if self.server is None else "the server of `server`"
        age = format_value((tools.clock.now() - archive.time).total_seconds(), Unit.SECONDS)
        description = f"restore {archive.name} ({format_bytes(archive.size)}, {age} old) into {where}"
        return TaskPlan([Step(archive.name, description)])

    async def act(self, step: Step, context: StepContext, tools: TaskTools) -> StepResult:
        """Restore and compare."""
        figures: dict[str, float] = {PROVED.name: 0}
        findings: list[Finding] = []
        try:
            candidate = await self._newest(tools, step.name)
            said = await self._drill(candidate, context, tools, figures, findings)
        except BackupError as error:
            raise StepFailedError(error.text, [*findings, error.finding()], figures) from error
        except ActionError as error:
            raise StepFailedError(str(error), findings, figures) from error
        if failed := [it for it in findings if it.severity is Severity.CRITICAL]:
            raise StepFailedError(f"{step.name} is no good: {failed[0].text}", findings, figures)
        figures |= {PROVED.name: 1, SUCCESS.name: tools.clock.now().timestamp()}
        return StepResult(said, findings, figures)

    async def _newest(self, tools: TaskTools, name: str = "") -> Candidate:
        """Return the newest backup, or the one of a name. Raises ``BackupError``."""
        place = places.place(tools)
        files = await place.files()
        found = archives(files, places.settings(tools).prefix, self.files)
        chosen = [it for it in found if it.name == name] if name else found
        if not chosen:
            what = name or self.files or f"{places.settings(tools).prefix}-*.dump"
            raise BackupError(Problem.PLACE, f"{place.address}: there is no backup {what}")
        return Candidate(chosen[-1], await read_manifest(place, chosen[-1], files))

    async def _pg_restore(self, tools: TaskTools, candidate: Candidate) -> Path:
        """Return a pg_restore that is not older than the archive, as far as that is known. Raises ``BackupError``."""
        wanted = candidate.manifest.client_version if candidate.manifest else None
        by = "the pg_dump that has written the archive"
        return (await backup_program("pg_restore", tools.shop.settings.pg_bin, wanted, by))[0]

    async def _drill(
        self,
        candidate: Candidate,
        context: StepContext,
        tools: TaskTools,
        figures: dict[str, float],
        findings: list[Finding],
    ) -> str:
        """Do it all; figures and findings are added as they become known. Raises ``ActionError``."""
        archive, manifest, now = candidate.archive, candidate.manifest, tools.clock.now()
        lost = now - archive.time
        figures[RPO.name] = max(0.0, lost.total_seconds())
        if lost > self.max_age:
            findings.append(self._too_old(archive, lost))
        pg_restore = await self._pg_restore(tools, candidate)
        keys = await asyncio.to_thread(load_identities, places.settings(tools))
        scratch = drill_server.scratch_folder(self.scratch, tools.data)
        await self._check_disk(scratch, candidate, tools)
        name = drill_database.drill_name(now)
        async with AsyncExitStack() as stack:
            folder = await stack.enter_async_context(drill_server.drill_folder(scratch, name))
            began, dump = tools.clock.monotonic(), folder / "dump"
            reader = ArchiveReader(places.place(tools), archive, manifest, keys)
            await fetch(archive, reader, dump, lambda done: context.tell(f"{format_bytes(done)} fetched"))
            restore = Restore(archive, dump, pg_restore)
            await restore.read_contents()
            database = await self._database(stack, folder, name, tools)
            context.tell("restoring")
            await restore.run(database)
            took = tools.clock.monotonic() - began
            figures[RTO.name] = took
            context.tell("comparing")
            said = await self._compare(candidate, database, restore.database, tools, figures, findings)
        point, time = (format_value(it, Unit.SECONDS) for it in (figures[RPO.name], took))
        return f"restored in {took:,.1f} seconds; {said}; RPO {point}, RTO {time}"

    async def _database(self, stack: AsyncExitStack, folder: Path, name: str, tools: TaskTools) -> DrillDatabase:
        settings = tools.shop.settings
        if self.server:
            return await stack.enter_async_context(drill_database.elsewhere(self.server, settings, name))
        programs = drill_server.server_programs(settings.pg_bin)
        return await stack.enter_async_context(drill_server.throw_away_server(programs, folder, name))

    async def _compare(
        self,
        candidate: Candidate,
        database: DrillDatabase,
        dumped: str,
        tools: TaskTools,
        figures: dict[str, float],
        findings: list[Finding],
    ) -> str:
        settings = tools.shop.settings
        live = LiveDatabase(tools).rows if settings.database_admin or settings.database else None
        began: datetime | None = candidate.manifest.started if candidate.manifest else None
        if began is None:
            began = own_time(candidate.archive.name, places.settings(tools).prefix)
        comparison = DatabaseComparison(
            candidate.archive.name,
            partial(_rows, AdminDatabase(database.address)),
            live,
            settings.timezone,
            began,
        )
        copy = await comparison.read(dumped)
        figures[ORDERS.name] = copy.orders
        if copy.newest_at:
            figures[NEWEST_ORDER.name] = copy.newest_at.timestamp()
        found = await comparison.compare(copy)
        findings += found.findings
        return "; ".join(found.said)

    async def _check_disk(self, scratch: Path, candidate: Candidate, tools: TaskTools) -> None:
        """Raise ``BackupError`` where the disk is too small for the unpacked dump and the database."""
        manifest, settings = candidate.manifest, tools.shop.settings
        dump = manifest.dump_size if manifest else candidate.archive.size
        size = PACKED * dump
        if settings.database_admin or settings.database:
            with suppress(ActionError):  # the drill matters most when the database is down
                size = await LiveDatabase(tools).size()
        needed = dump + (DISK_FACTOR * size if self.server is None else 0)
        free = await self._free_disk(scratch)
        if free < needed:
            raise BackupError(
                Problem.NO_DISK,
                f"{scratch} has {format_bytes(free)} free, a drill needs {format_bytes(needed)}",
                "set `scratch` to a folder on a larger disk, or `server` to another server",
            )

    async def _free_disk(self, scratch: Path) -> int:
        return await asyncio.to_thread(_free, scratch)

    def _too_old(self, archive: Archive, lost: timedelta) -> Finding:
        age, most = (format_value(it.total_seconds(), Unit.SECONDS) for it in (lost, self.max_age))
        text = f"the newest backup, {archive.name}, is {age} old: at most {most} may be lost"
        return Finding(Problem.TOO_OLD.value, text, Severity.CRITICAL, "look why no newer one was made")


async def _rows(
    database: AdminDatabase, query: str, parameters: Mapping[str, Any] | None
) -> Sequence[Mapping[str, Any]]:
    return await database.execute(query, parameters, seconds=QUERY_SECONDS)


def _free(folder: Path) -> int:
    existing = next(it for it in (folder, *folder.absolute().parents) if it.exists())
    return shutil.disk_usage(existing).free
