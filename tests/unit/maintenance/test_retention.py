"""Which backups are kept: one of each day, week and month."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from toban.maintenance.backups.archive import Archive, archive_name, archives, own_time
from toban.maintenance.backups.place import StoredFile
from toban.maintenance.backups.retention import Retention, expired

NOON = datetime(2026, 3, 31, 12, tzinfo=UTC)
TOKYO, LONDON = ZoneInfo("Asia/Tokyo"), ZoneInfo("Europe/London")


def daily(days: int, newest: datetime = NOON) -> list[Archive]:
    return [Archive(f"{days - age}", newest - timedelta(days=age), 1) for age in reversed(range(days))]


def kept(archives: list[Archive], retention: Retention, zone: ZoneInfo = LONDON) -> list[str]:
    gone = expired(archives, retention, zone)
    return [f"{it.time:%m-%d}" for it in archives if it not in gone]


def test_days_weeks_and_months_overlap():
    found = kept(daily(120), Retention(7, 5, 3))
    assert found == [
        *("01-31", "02-28", "03-08", "03-15", "03-22"),
        *("03-25", "03-26", "03-27", "03-28", "03-29", "03-30", "03-31"),
    ]


def test_days_without_a_backup_do_not_count():
    archives = [it for it in daily(60) if it.time.day % 10 == 1]
    assert kept(archives, Retention(3, 0, 0)) == ["03-11", "03-21", "03-31"]


def test_of_several_a_day_the_newest_is_kept_by_the_shops_calendar():
    times = [datetime(2026, 3, 30, 14, tzinfo=UTC), datetime(2026, 3, 30, 16, tzinfo=UTC), NOON]
    archives = [Archive(str(it), it, 1) for it in times]
    # In Tokyo, 16:00 UTC is on the next day already.
    assert [it.time for it in expired(archives, Retention(9, 0, 0), LONDON)] == [times[0]]
    assert [it.time for it in expired(archives, Retention(9, 0, 0), TOKYO)] == [times[1]]


TIMES = st.lists(st.datetimes(datetime(2020, 1, 1), datetime(2026, 1, 1)).map(lambda it: it.replace(tzinfo=UTC)))


@given(TIMES, st.integers(1, 9), st.integers(0, 9), st.integers(0, 9))
def test_the_newest_is_always_kept_and_what_was_kept_once_is_not_deleted_by_a_second_look(
    times: list[datetime], days: int, weeks: int, months: int
):
    archives = [Archive(f"{number:03}", it, 1) for number, it in enumerate(sorted(times))]
    retention = Retention(days, weeks, months)
    gone = expired(archives, retention, TOKYO)
    left = [it for it in archives if it not in gone]
    assert archives[-1:] == left[-1:]
    assert len(left) <= days + weeks + months or not archives
    assert expired(left, retention, TOKYO) == []


def test_only_files_of_the_own_form_are_archives():
    names = [
        "shop-20260331T120000Z.dump", "shop-20260330T120000Z.dump.age", "shop-20260331T120000Z.dump.json",
        "shop-20261331T120000Z.dump", "shop2-20260331T120000Z.dump", "shop-latest.dump",
        "shop-20260331T120000Z.dump.gz", "xshop-20260331T120000Z.dump",
    ]  # fmt: skip
    files = [StoredFile(it, 1, NOON) for it in names]
    assert [it.name for it in archives(files, "shop")] == [names[1], names[0]]
    assert [it.name for it in archives(files, "shop", "*latest*")] == ["shop-latest.dump"]
    assert own_time(archive_name("shop", NOON, encrypted=True), "shop") == NOON
    assert own_time("a.b-20260331T120000Z.dump", "axb") is None
