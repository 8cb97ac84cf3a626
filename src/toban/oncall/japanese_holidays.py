"""The national holidays of Japan since 2020, by the Act on National Holidays (国民の祝日に関する法律)."""

from datetime import date, timedelta
from functools import lru_cache
from typing import Final

FIXED: Final = (
    (1, 1),  # 元日
    (2, 11),  # 建国記念の日
    (2, 23),  # 天皇誕生日
    (4, 29),  # 昭和の日
    (5, 3),  # 憲法記念日
    (5, 4),  # みどりの日
    (5, 5),  # こどもの日
    (11, 3),  # 文化の日
    (11, 23),  # 勤労感謝の日
)
MONDAYS: Final = (
    (1, 2),  # 成人の日
    (9, 3),  # 敬老の日
)
"""Holidays by month, and which Monday of it."""

MOVED: Final = {
    2020: ((7, 23), (7, 24), (8, 10)),
    2021: ((7, 22), (7, 23), (8, 8)),
}
"""海の日, スポーツの日 and 山の日 in the years of the Olympic Games in Tokyo."""

DAY: Final = timedelta(days=1)


def is_japanese_holiday(day: date) -> bool:
    """Tell whether a day is a national holiday of Japan. The equinoxes of coming years are computed."""
    return day in japanese_holidays(day.year)


@lru_cache(maxsize=8)
def japanese_holidays(year: int) -> frozenset[date]:
    """Return the national holidays of a year."""
    named = {date(year, month, day) for month, day in FIXED}
    named |= {_monday(year, month, number) for month, number in MONDAYS}
    named |= {date(year, 3, _equinox(year, 20.8431)), date(year, 9, _equinox(year, 23.2488))}
    if year in MOVED:
        named |= {date(year, month, day) for month, day in MOVED[year]}
    else:
        named |= {_monday(year, 7, 3), date(year, 8, 11), _monday(year, 10, 2)}
    # Article 3 (3): a day between two holidays. Article 3 (2): the next day that is none, after one on a Sunday.
    between = {day + DAY for day in named if day + 2 * DAY in named and day + DAY not in named}
    substitutes = set()
    for day in named:
        if day.isoweekday() == 7:
            instead = day + DAY
            while instead in named:
                instead += DAY
            substitutes.add(instead)
    return frozenset(named | {day for day in between if day.isoweekday() != 7} | substitutes)


def _monday(year: int, month: int, number: int) -> date:
    """Return a Monday of a month, counted from 1."""
    first = date(year, month, 1)
    return first + timedelta(days=-first.weekday() % 7 + 7 * (number - 1))


def _equinox(year: int, base: float) -> int:
    """Return the day of an equinox in Japan, by the usual approximation for 1980 to 2099."""
    return int(base + 0.242194 * (year - 1980) - (year - 1980) // 4)
