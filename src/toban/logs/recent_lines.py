"""The newest log lines, in memory."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from toban.core.log_line import LogLevel, LogLine
from toban.core.ports import Recorder
from toban.core.redaction import REDACTED, is_secret, redact, redact_text
from toban.core.samples import counter
from toban.instruments.cardinality import CardinalityLimits

LINES: Final = counter("vendure_log_lines_total", "Log lines that the shop's processes sent, by level and context.")
"""Labels: level, context, service."""

LONGEST: Final = 16_384
"""Characters of a message or a trace that are kept."""

ORDER: Final = tuple(LogLevel)
"""The levels, worst first."""


class RecentLines:
    """
    Keeps the newest lines, redacted, bounded by their number and by what they take.

    It counts every line, also those that have long made room for others.
    """

    def __init__(
        self, recorder: Recorder, budgets: CardinalityLimits, most: int = 5_000, size: int = 4 * 2**20
    ) -> None:
        self._recorder = recorder
        self._budgets = budgets
        self._most = most
        self._size = size
        self._lines: deque[tuple[LogLine, int]] = deque()
        self._taken = 0

    def write(self, lines: Sequence[LogLine]) -> None:
        """Keep some lines, and let go of the oldest where there is no room."""
        for line in lines:
            self._keep(redacted_line(line))

    def newest(
        self, limit: int = 100, level: LogLevel = LogLevel.DEBUG, context: str = "", service: str = "", text: str = ""
    ) -> list[LogLine]:
        """
        Return lines, newest first: of a level or worse, of a context, of a service, holding a text (in any case).

        What is empty chooses nothing.
        """
        levels = ORDER[: ORDER.index(level) + 1]
        wanted = text.casefold()
        found: list[LogLine] = []
        for line, _ in reversed(self._lines):
            if len(found) == limit:
                break
            if (
                line.level in levels
                and (not context or line.context == context)
                and (not service or line.service == service)
                and (not wanted or wanted in line.message.casefold() or wanted in line.trace.casefold())
            ):
                found.append(line)
        return found

    def _keep(self, line: LogLine) -> None:
        fit = self._budgets.limited
        labels = {"context": fit("context", line.context), "service": fit("service", line.service)}
        self._recorder.add(LINES, 1, level=line.level.value, **labels)
        takes = 500 + len(line.message) + len(line.trace) + len(line.facts) * 200
        self._lines.append((line, takes))
        self._taken += takes
        while len(self._lines) > self._most or self._taken > self._size:
            _, freed = self._lines.popleft()
            self._taken -= freed


def redacted_line(line: LogLine) -> LogLine:
    """Return a line without secrets, and no longer than is kept."""
    return replace(
        line,
        message=_scrubbed(line.message),
        context=_scrubbed(line.context, 200),
        service=_scrubbed(line.service, 200),
        environment=_scrubbed(line.environment, 200),
        instance=_scrubbed(line.instance, 200),
        trace=_scrubbed(line.trace),
        facts=_facts(line.facts),
    )


def as_json(line: LogLine) -> dict[str, Any]:
    """Return a line in winston's shape."""
    shown = {
        "timestamp": line.at.isoformat(),
        "level": line.level.value,
        "message": line.message,
        "context": line.context,
        "service": line.service,
        "environment": line.environment,
        "instance": line.instance,
        "category": line.category,
        "trace": line.trace,
        "facts": dict(line.facts),
    }
    return {name: value for name, value in shown.items() if value}


def _scrubbed(text: str, longest: int = LONGEST) -> str:
    # A little more is looked at than is kept: the half of a secret does not look like one.
    found = redact_text(text[: longest + 500])
    return found if len(found) <= longest else f"{found[:longest]}…"


def _facts(facts: Mapping[str, object]) -> Mapping[str, object]:
    """Return facts without secrets: a fact is a word or a number, and a whole document is cut."""
    found: dict[str, object] = {}
    for name, value in facts.items():
        if is_secret(name):
            found[name[:200]] = REDACTED
        elif isinstance(value, bool | int | float):
            found[_scrubbed(name, 200)] = redact(value)
        else:
            found[_scrubbed(name, 200)] = _scrubbed(value if isinstance(value, str) else str(redact(value)), 2_000)
    return found
