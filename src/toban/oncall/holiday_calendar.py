"""The holidays of a country: Japan's are built in, those of others are the library `holidays`'."""

from collections.abc import Callable
from datetime import date
from functools import lru_cache
from typing import Final

from toban.oncall.japanese_holidays import is_japanese_holiday

JAPAN: Final = "JP"

IsHoliday = Callable[[date], bool]


def no_holiday(_: date) -> bool:
    """Tell that no day is a holiday."""
    return False


@lru_cache(maxsize=8)
def holiday_calendar(country: str) -> IsHoliday:
    """
    Return the holidays of a country, or of a part of it: `jp`, `de`, `de-BY`; of none, no day is one.

    Raises ``ValueError`` for an unknown one, and where the library is not installed.
    """
    code, _, part = country.upper().partition("-")
    if not code:
        return no_holiday
    if code == JAPAN and not part:
        return is_japanese_holiday
    try:
        # It takes 19 MB and a second: only where it is asked for.
        from holidays import country_holidays
    except ImportError as error:
        raise ValueError(f"{country!r} needs the library `holidays`: install toban[holidays]") from error
    try:
        found = country_holidays(code, subdiv=part or None)
    except NotImplementedError as error:
        raise ValueError(f"unknown country {country!r}: write it like jp, de or de-BY") from error
    return lambda day: day in found
