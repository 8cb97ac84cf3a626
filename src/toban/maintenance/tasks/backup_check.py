"""Look after backups, whoever makes them: how old and how large they are, and whether all of them can be read."""

import asyncio
import statistics
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field

from toban.core.config_types import Duration, Size, Text
from toban.core.number_format import Unit, format_bytes, format_value
from toban.core.samples import MetricFamily, gauge
from toban.core.schedule import Schedule
from toban.maintenance.backups import fly_snapshots, pgbackrest, places
from toban.maintenance.backups.archive import archives, read_manifest
from toban.maintenance.backups.contents import ArchiveReader, load_identities
from toban.maintenance.backups.errors import BackupError, Problem
from toban.maintenance.backups.live_database import pg_restore_for_server
from toban.maintenance.backups.programs import backup_program
from toban.maintenance.backups.record import BackupRecord
from toban.maintenance.backups.verification import verify
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
from toban.shop.postgres_programs import find_program
from toban.shop.settings import ShopSettings

NEWEST: Final = gauge(
    "toban_backup_check_newest_timestamp_seconds",
    "Time of the newest backup, in seconds since the epoch; of several sources that of the oldest; 0 if there is none.",
    "seconds",
    labels=("task",),
)
AGE_LIMIT: Final = gauge(
    "toban_backup_check_age_limit_seconds", "The highest allowed age of the newest backup.", "seconds", labels=("task",)
)
SIZE: Final = gauge("toban_backup_check_size_bytes", "Size of the newest backup.", "bytes", labels=("task",))
LEAST: Final = gauge(
    "toban_backup_check_least_size_bytes", "The least allowed size of the newest backup.", "bytes", labels=("task",)
)
UNREADABLE: Final = gauge(
    "toban_backup_check_unreadable", "Backups that the last check could not read as a whole.", labels=("task",)
)
PROBLEMS: Final = gauge(
    "toban_backup_check_problems", "Sources of backups that the last check could not ask.", labels=("task",)
)
COMPARED: Final = 10
"""Backups before the newest with which its size is compared."""


class BackupCheck(Task):
    """
    Look at the backups of the place `shop.backups`, of pgBackRest, and at the snapshots of volumes at Fly.io.

    The newest must not be too old, nor much smaller than the ten before it. Archives are read from begin to end: their
    checksum, their encryption where the key is here, and by pg_restore, which sees that none is cut off.
    """

    kind: Literal["backup_check"] = "backup_check"
    target: ClassVar[str] = "backups"
    metrics: ClassVar[Sequence[MetricFamily]] = (NEWEST, AGE_LIMIT, SIZE, LEAST, UNREADABLE, PROBLEMS)

    cron: Schedule = "0 6 * * *"

    files: Text = ""
    """Pattern of the backups' names in the place, like `*.dump`; by default those that toban writes."""

    max_age: Duration = timedelta(hours=26)
    """The highest allowed age of the newest backup."""

    least_share: Annotated[float, Field(ge=0, lt=1)] = 0.5
    """The least size of the newest backup, as a share of the median of the ten before it."""

    archives: Annotated[int, Field(ge=0, le=100)] = 1
    """How many of the newest archives are read as a whole."""

    read_limit: Size = 20 * 2**30
    """The most bytes that are read in one run: a bucket may charge for each."""

    pgbackrest_stanza: Text = ""
    """The stanza of pgBackRest whose backups are checked, by `pgbackrest info` on this machine."""

    fly_apps: tuple[Text, ...] = ()
    """Apps at Fly.io whose volumes' snapshots are the backups; it needs `shop.fly_token`."""

    timeout: Duration = timedelta(hours=3)

    def not_configured(self, settings: ShopSettings) -> str:
        """It needs something to look at."""
        if self.fly_apps and settings.fly_token is None:
            return "shop.fly_token is not set: `fly tokens create readonly ORGANISATION` makes one"
        return "" if settings.backups or self.pgbackrest_stanza or self.fly_apps else places.NO_PLACE

    async def plan(self, tools: TaskTools) -> TaskPlan:
        """Ask all sources; a step for each archive that is to be read."""
        findings, newest, sources = list[Finding](), list[datetime | None](), 0
        figures: dict[str, float] = {AGE_LIMIT.name: self.max_age.total_seconds(), UNREADABLE.name: 0}
        steps: list[Step] = []
        problems = 0
        for source in self._sources(tools):
            sources += 1
            try:
                groups = await source
            except BackupError as error:
                problems += 1
                findings.append(error.finding())
                continue
            for name, records in groups.items():
                newest.append(records[-1].time if records else None)
                findings += self._age(name, records, tools.clock.now())
                findings += self._size(name, records, figures)
                chosen = self._chosen(records)
                steps += [Step(it.name, f"read all of {it.name} ({format_bytes(it.size or 0)})") for it in chosen]
                if self.archives and not chosen and records and records[-1].is_archive:
                    findings.append(self._not_read(records[-1]))
        if newest:
            figures[NEWEST.name] = min((it.timestamp() if it else 0.0) for it in newest)
        figures[PROBLEMS.name] = problems
        return TaskPlan(steps, findings, _said(newest, problems), figures)

    def _sources(self, tools: TaskTools) -> Iterator[fly_snapshots.Source]:
        if tools.shop.settings.backups:
            yield self._place(tools)
        if self.pgbackrest_stanza:
            yield pgbackrest.backups(self.pgbackrest_stanza)
        if self.fly_apps:
            yield fly_snapshots.backups(self.fly_apps, tools)

    async def _place(self, tools: TaskTools) -> dict[str, list[BackupRecord]]:
        place = places.place(tools)
        found = archives(await place.files(), places.settings(tools).prefix, self.files)
        return {place.address: [BackupRecord(it.name, it.time, it.size, is_archive=True) for it in found]}

    def _age(self, source: str, records: Sequence[BackupRecord], now: datetime) -> list[Finding]:
        if not records:
            text = f"{source}: there is no backup"
            return [
                Finding(Problem.TOO_OLD.value, text, Severity.CRITICAL, "make one now: `toban maintenance run backup`")
            ]
        age = now - records[-1].time
        if age <= self.max_age:
            return []
        written, most = (format_value(it.total_seconds(), Unit.SECONDS) for it in (age, self.max_age))
        text = f"{source}: the newest backup, {records[-1].name}, is {written} old, at most {most} are allowed"
        return [Finding(Problem.TOO_OLD.value, text, Severity.CRITICAL, "look why no newer one was made")]

    def _size(self, source: str, records: Sequence[BackupRecord], figures: dict[str, float]) -> list[Finding]:
        """Compare the size of the newest with those before it."""
        sized = [it for it in records if it.size is not None]
        if not sized or sized[-1].size is None:
            return []
        size = sized[-1].size
        before = [it.size for it in sized[-1 - COMPARED : -1] if it.size is not None]
        least = self.least_share * statistics.median(before) if before else 0
        if SIZE.name not in figures or size - least < figures[SIZE.name] - figures[LEAST.name]:
            figures |= {SIZE.name: size, LEAST.name: least}
        if size >= least:
            return []
        text = (
            f"{source}: {sized[-1].name} has {format_bytes(size)}, the median of the {len(before)} before it has "
            f"{format_bytes(statistics.median(before))}"
        )
        return [Finding("size", text, Severity.CRITICAL, "look what is missing in it, and keep the older ones")]

    def _chosen(self, records: Sequence[BackupRecord]) -> list[BackupRecord]:
        """Return the archives that are read as a whole, newest first, as far as the limit goes."""
        chosen, left = list[BackupRecord](), self.read_limit
        for it in [it for it in reversed(records) if it.is_archive][: self.archives]:
            left -= it.size or 0
            if left < 0:
                break
            chosen.append(it)
        return chosen

    def _not_read(self, newest: BackupRecord) -> Finding:
        text = f"{newest.name} was not read: {format_bytes(newest.size or 0)} are more than `read_limit` allows"
        return Finding("not read", text, Severity.WARNING, "raise `read_limit`")

    async def act(self, step: Step, context: StepContext, tools: TaskTools) -> StepResult:
        """Read one archive from begin to end."""
        place, settings = places.place(tools), places.settings(tools)
        try:
            files = await place.files()
            archive = next((it for it in archives(files, settings.prefix, self.files) if it.name == step.name), None)
            if archive is None:
                raise BackupError(Problem.PLACE, f"{step.name} was deleted meanwhile")
            manifest = await read_manifest(place, archive, files)
            keys = await asyncio.to_thread(load_identities, settings)
            looks_inside = bool(keys) or not archive.is_encrypted
            reader = ArchiveReader(place, archive, manifest, keys if looks_inside else None)
            if looks_inside:
                said = await verify(archive, reader, await self._pg_restore(tools))
            else:
                said = await self._compare_checksum(reader)
        except BackupError as error:
            raise StepFailedError(error.text, [error.finding()], {UNREADABLE.name: 1}) from error
        checksum = "its checksum is right" if manifest else "it has no checksum of toban's"
        return StepResult(f"{said}; {checksum}")

    async def missing_programs(self, tools: TaskTools) -> str | None:
        """Return that pg_restore is missing, without which no archive is read as a whole, or is too old."""
        settings = tools.shop.settings
        if not settings.backups or not self.archives:
            return None
        await pg_restore_for_server(tools)
        return ""

    async def _pg_restore(self, tools: TaskTools) -> Path | None:
        """Return the newest pg_restore, which reads what all others have written; None where there is none."""
        folder = tools.shop.settings.pg_bin
        if find_program("pg_restore", folder) is None:
            return None
        return (await backup_program("pg_restore", folder, None, ""))[0]

    async def _compare_checksum(self, reader: ArchiveReader) -> str:
        async for _ in reader.pieces():
            pass
        return "it is encrypted, and its key is not here: nobody has looked inside"


def _said(newest: Sequence[datetime | None], problems: int) -> str:
    dates = [it for it in newest if it]
    said = f"the newest backup is of {max(dates):%Y-%m-%d %H:%M} UTC" if dates else "there is no backup"
    return f"{said}; {problems} sources did not answer" if problems else said
