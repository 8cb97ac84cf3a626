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

LINES: Final = counter(
    "vendure_log_lines_total",
    "Log lines of the shop's processes, by level and context.",
    labels=("level", "context", "service"),
)

MAX_TEXT: Final = 16_384
"""Characters of a message or a stack trace that are kept."""

BY_SEVERITY: Final = tuple(LogLevel)
"""The levels, most severe first."""


class RecentLines:
    """
    Keeps the newest lines, redacted, bounded by number and memory.

    Every line is counted, also those that were dropped since.
    """

    def __init__(self, recorder: Recorder, limits: CardinalityLimits, most: int = 5_000, size: int = 4 * 2**20) -> None:
        self._recorder = recorder
        self._limits = limits
        self._most = most
        self._max_size = size
        self._lines: deque[tuple[LogLine, int]] = deque()
        self._size = 0

    def write(self, lines: Sequence[LogLine]) -> None:
        """Add some lines, and drop the oldest beyond the limits."""
        for line in lines:
            self._add(redacted_line(line))

    def newest(
        self, limit: int = 100, level: LogLevel = LogLevel.DEBUG, context: str = "", service: str = "", text: str = ""
    ) -> list[LogLine]:
        """
        Return lines, newest first: of a level or more severe, of a context, of a service, with a text (in any case).

        Empty arguments select every line.
        """
        levels = BY_SEVERITY[: BY_SEVERITY.index(level) + 1]
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

    def _add(self, line: LogLine) -> None:
        fit = self._limits.limited
        labels = {"context": fit("context", line.context), "service": fit("service", line.service)}
        self._recorder.add(LINES, 1, level=line.level.value, **labels)
        size = 500 + len(line.message) + len(line.trace) + len(line.facts) * 200
        self._lines.append((line, size))
        self._size += size
        while len(self._lines) > self._most or self._size > self._max_size:
            _, freed = self._lines.popleft()
            self._size -= freed


def redacted_line(line: LogLine) -> LogLine:
    """Return a line without secrets, cut to the length that is kept."""
    return replace(
        line,
        message=_redacted(line.message),
        context=_redacted(line.context, 200),
        service=_redacted(line.service, 200),
        environment=_redacted(line.environment, 200),
        instance=_redacted(line.instance, 200),
        trace=_redacted(line.trace),
        facts=_facts(line.facts),
    )


def as_json(line: LogLine) -> dict[str, Any]:
    """Return a line with the fields of winston."""
    fields = {
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
    return {name: value for name, value in fields.items() if value}


def _redacted(text: str, limit: int = MAX_TEXT) -> str:
    # A little more is searched than is kept: half of a secret is not recognised as one.
    redacted = redact_text(text[: limit + 500])
    return redacted if len(redacted) <= limit else f"{redacted[:limit]}…"


def _facts(facts: Mapping[str, object]) -> Mapping[str, object]:
    """Return facts without secrets; a nested value becomes a text and is cut."""
    redacted: dict[str, object] = {}
    for name, value in facts.items():
        if is_secret(name):
            redacted[name[:200]] = REDACTED
        elif isinstance(value, bool | int | float):
            redacted[_redacted(name, 200)] = redact(value)
        else:
            redacted[_redacted(name, 200)] = _redacted(value if isinstance(value, str) else str(redact(value)), 2_000)
    return redacted
