"""Back up the shop's database: a dump, encrypted, into a folder or a bucket."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from toban.core.config_types import Duration
from toban.core.number_format import counted, format_bytes
from toban.core.samples import MetricFamily, gauge
from toban.core.schedule import Schedule
from toban.maintenance.backups import places, retention
from toban.maintenance.backups.archive import Archive, archives, delete_archive
from toban.maintenance.backups.dump import dump
from toban.maintenance.backups.errors import BackupError, Problem
from toban.maintenance.backups.live_database import LiveDatabase
from toban.maintenance.backups.place import BackupPlace
from toban.maintenance.task import (
    Finding,
    Mode,
    Severity,
    Step,
    StepContext,
    StepFailedError,
    StepResult,
    Task,
    TaskPlan,
    TaskTools,
)
from toban.shop.settings import ShopSettings

SIZE: Final = gauge("toban_backup_size_bytes", "Size of the last backup as it is stored.", "bytes", labels=("task",))
DATABASE: Final = gauge(
    "toban_backup_database_size_bytes", "Size of the database when it was backed up last.", "bytes", labels=("task",)
)
KEPT: Final = gauge("toban_backup_kept", "Backups that are kept after the last one was made.", labels=("task",))


class Backup(Task):
    """
    Dump the shop's database with pg_dump into the place of `shop.backups`: one file, encrypted, with its checksum.

    The dump goes to its place piece by piece, and appears there when it is complete. Then the backups that are kept no
    longer are deleted: of each day, week and month one is kept, and the newest always. It dumps as the role of
    `shop.database_admin`, else of `shop.database`, which must be able to read all tables.
    """

    kind: Literal["backup"] = "backup"
    target: ClassVar[str] = "backups"
    cleans_at_start: ClassVar[bool] = True
    metrics: ClassVar[Sequence[MetricFamily]] = (SIZE, DATABASE, KEPT)

    cron: Schedule = "0 2 * * *"

    daily: Annotated[int, Field(ge=1, le=400)] = 7
    """How many days a backup is kept for each."""

    weekly: Annotated[int, Field(ge=0, le=400)] = 5
    """How many weeks a backup is kept for each."""

    monthly: Annotated[int, Field(ge=0, le=400)] = 12
    """How many months a backup is kept for each."""

    timeout: Duration = timedelta(hours=4)

    def not_configured(self, settings: ShopSettings) -> str:
        """It needs a place, and a database."""
        if settings.backups is None:
            return places.NO_PLACE
        return "" if settings.database_admin or settings.database else places.NO_DATABASE

    async def missing(self, tools: TaskTools) -> str:
        """Return that a program is missing or too old, that the place can't be read, or what the role can't read."""
        live = LiveDatabase(tools)
        try:
            await live.source()
            if unreadable := await live.unreadable_tables():
                return f"the role may not read {', '.join(unreadable)}: GRANT pg_read_all_data TO {await live.role()}"
            await places.existing_files(places.place(tools), tools)
        except BackupError as error:
            return str(error)
        return ""

    async def missing_programs(self, tools: TaskTools) -> str:
        """Return that pg_dump is missing, or older than the server. Raises ``ActionError``."""
        await LiveDatabase(tools).source()
        return ""

    async def clean(self, tools: TaskTools) -> str:
        """Remove what an interrupted backup has left."""
        left = await places.place(tools).clean(places.settings(tools).prefix)
        return f"removed {counted(left, 'unfinished backup')}" if left else ""

    async def plan(self, tools: TaskTools) -> TaskPlan:
        """Return the one step, with the size of the database."""
        place = places.place(tools)
        source = await LiveDatabase(tools).source()
        size = await LiveDatabase(tools).size()
        found = archives(await places.existing_files(place, tools), places.settings(tools).prefix)
        description = f"dump {source.database} ({format_bytes(size)}) with pg_dump {source.client} to {place.address}"
        findings = [] if places.settings(tools).is_encrypted else [_NOT_ENCRYPTED]
        return TaskPlan(
            [Step(source.database, description, {"bytes": size})],
            findings,
            f"{counted(len(found), 'backup')} before it",
        )

    async def act(self, step: Step, context: StepContext, tools: TaskTools) -> StepResult:
        """Dump, and then delete what is kept no longer."""
        place, settings = places.place(tools), places.settings(tools)
        started, began = tools.clock.now(), tools.clock.monotonic()
        try:
            if (free := await place.free()) is not None and free < await self._expected(place, tools):
                raise BackupError(
                    Problem.NO_DISK,
                    f"{place.address} has {format_bytes(free)} free, less than the last backup needed",
                    "make room, or keep fewer backups",
                )
            source = await LiveDatabase(tools).source()
            manifest = await dump(
                source, place, settings, started, tools.clock, lambda done: context.tell(f"{format_bytes(done)} dumped")
            )
        except BackupError as error:
            raise StepFailedError(error.text, [error.finding()]) from error
        seconds = tools.clock.monotonic() - began
        deleted, left, findings = await self._expire(place, tools)
        text = f"{manifest.archive}: {format_bytes(manifest.size)} in {seconds:,.0f} seconds"
        gone = f"; {counted(deleted, 'older backup')} deleted" if deleted else ""
        figures = {SIZE.name: manifest.size, DATABASE.name: step.facts["bytes"], KEPT.name: left}
        return StepResult(text + gone, findings, figures)

    async def _expected(self, place: BackupPlace, tools: TaskTools) -> int:
        """Return how large the new backup will be, by the last one."""
        found = archives(await places.existing_files(place, tools), places.settings(tools).prefix)
        return found[-1].size if found else 0

    async def _expire(self, place: BackupPlace, tools: TaskTools) -> tuple[int, int, list[Finding]]:
        """Delete what is kept no longer, in mode `auto` only; return how many, and how many are left."""
        found = archives(await place.files(), places.settings(tools).prefix)
        old = self._expired(found, tools) if self.mode is Mode.AUTO else []
        for number, it in enumerate(old):
            try:
                await delete_archive(place, it)
            except BackupError as error:
                finding = Finding("not deleted", f"{it.name} can't be deleted: {error}", Severity.WARNING)
                return number, len(found) - number, [finding]
        return len(old), len(found) - len(old), []

    def _expired(self, found: Sequence[Archive], tools: TaskTools) -> list[Archive]:
        kept = retention.Retention(self.daily, self.weekly, self.monthly)
        return retention.expired(found, kept, tools.zone)


_NOT_ENCRYPTED: Final = Finding(
    "not encrypted",
    "backups hold customers' data and are not encrypted",
    Severity.WARNING,
    "set shop.backups.recipients to a public key: `age-keygen -o backup.key` makes a pair",
)
