"""The series that the rules of service levels write; names and labels are Sloth's, for its dashboards."""

from datetime import timedelta
from typing import Final

from toban.core.config_types import format_duration
from toban.core.samples import gauge

MIN, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
SHORTEST: Final = 5 * MIN
FAST_WINDOWS: Final = (SHORTEST, 30 * MIN, HOUR, 6 * HOUR)
SLOW_WINDOWS: Final = (2 * HOUR, DAY, 3 * DAY)
"""The windows of the fast and of the slow alert, the six hours that both read among the fast ones."""

LEVEL: Final = "sloth_slo"
"""The label with the name of a service level."""
LABELS: Final = ("sloth_id", "sloth_service", LEVEL)

OBSERVED: Final = gauge(
    "slo:observed:bool", "1 while what a service level reads is there; otherwise time is blind.", labels=LABELS
)
LOOKS: Final = gauge("slo:sli_good:bool", "Whether a look of a service level was good.", labels=LABELS)
TOTAL: Final = gauge(
    f"slo:sli_total:increase{format_duration(SHORTEST)}", "Events of a service level in a window.", labels=LABELS
)
OBJECTIVE: Final = gauge("slo:objective:ratio", "The share of events that must be good.", labels=LABELS)
BUDGET: Final = gauge("slo:error_budget:ratio", "The share of events that may be bad.", labels=LABELS)
PERIOD: Final = gauge("slo:time_period:days", "The period of an error budget.", labels=LABELS)
BURN: Final = gauge(
    "slo:current_burn_rate:ratio",
    "How many times faster than allowed an error budget was spent in the last five minutes.",
    labels=LABELS,
)
PERIOD_BURN: Final = gauge(
    "slo:period_burn_rate:ratio", "How much of an error budget is spent: 1 is all of it.", labels=LABELS
)
LEFT: Final = gauge(
    "slo:period_error_budget_remaining:ratio", "The share of an error budget that is left.", labels=LABELS
)
INFO: Final = gauge(
    "sloth_slo_info",
    "A service level; always 1.",
    labels=(*LABELS, "sloth_mode", "sloth_objective", "sloth_spec", "sloth_version"),
)

WINDOWED: Final = {
    name: gauge(name, help_text, labels=labels)
    for window in (*FAST_WINDOWS, *SLOW_WINDOWS)
    for name, help_text, labels in (
        (f"slo:sli_bad:increase{format_duration(window)}", "Bad events of a service level in a window.", LABELS),
        (
            f"slo:sli_error:ratio_rate{format_duration(window)}",
            "The share of bad events in a window; absent where it was blind for more than half of the time.",
            (*LABELS, "sloth_window"),
        ),
    )
}


def bad(window: timedelta) -> str:
    """Return the metric of the bad events in a window."""
    return f"slo:sli_bad:increase{format_duration(window)}"


def error_ratio(window: timedelta) -> str:
    """Return the metric of the share of bad events in a window, or in the period."""
    return f"slo:sli_error:ratio_rate{format_duration(window)}"
