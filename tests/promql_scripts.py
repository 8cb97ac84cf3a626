"""Prometheus' test language for its engine (promqltest), read and run against an engine over series in memory."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import numpy as np

from toban.alerting.series_notation import parse_run, parse_series, parse_values, unquote
from toban.core.errors import QueryError
from toban.core.labels import NAME, Labels
from toban.core.matchers import matches_all
from toban.core.ports import SeriesSource
from toban.core.query_result import QueryResult, ResultSeries, ResultType
from toban.core.samples import is_absent
from toban.promql.engine import PromqlEngine
from toban.promql.memory_source import MemorySource
from toban.promql.parser import UnsupportedError
from toban.promql.syntax_tree import selectors
from toban.promql.vectors import Floats, Times

NATIVE: Final = "{{"
"""How a native histogram begins."""

_TOLERANCE: Final = 1e-6
_SMALLEST: Final = float(np.finfo(np.float64).tiny)
_UNSUPPORTED = re.compile(
    r"\b(?:anchored|smoothed|fill|fill_left|fill_right)\b|</|>/|(?:\[|offset\s+)[^\]]*[-+*/^]\s*\d"
)
_POSITION = re.compile(r"\s*\\?\(\[?\d[^()]*\\?\)$")
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w|y)")
_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000, "y": 31_536_000_000}
_SCALAR = re.compile(r"[-+]?(?:inf|nan|(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)", re.IGNORECASE)
_QUOTED = r"""(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)"""
_SERIES = re.compile(rf"([^\s{{\"'`]*\s*(?:\{{(?!\{{)(?:{_QUOTED}|[^}}\"'`])*\}})?)")
_TIME = r"([^\s]+)"
_EVAL = re.compile(
    rf"eval(?:_(fail|warn|info|ordered))?\s+"
    rf"(?:(instant)\s+at\s+{_TIME}|range\s+from\s+{_TIME}\s+to\s+{_TIME}\s+step\s+{_TIME})\s+(.+)",
    re.DOTALL,
)


class ScriptError(ValueError):
    """A line that is not in the language."""


@dataclass(frozen=True, slots=True)
class Load:
    """Series to load: labels, and a value for each step from zero on. Those ``native`` are histograms and left out."""

    step: int
    series: tuple[tuple[Labels, tuple[float, ...]], ...]
    native: tuple[Labels, ...] = ()


@dataclass(frozen=True, slots=True)
class ClearCommand:
    """Remove all series."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """
    What must be true of the answer besides its values.

    ``what`` is one of fail, warn, no_warn, info, no_info, ordered, string, range; ``text`` is a message or ``pattern``
    a regular expression for one, a string's value, or the times of a range vector.
    """

    what: str
    text: str = ""
    pattern: str = ""


@dataclass(frozen=True, slots=True)
class EvalCommand:
    """A query and its expected result; times in milliseconds, without ``step`` an instant query."""

    line: int
    query: str
    start: int
    end: int
    step: int = 0
    expectations: tuple[Expectation, ...] = ()
    series: tuple[tuple[Labels, tuple[float, ...]], ...] = ()
    scalar: float | None = None
    native: bool = False

    def expects(self, what: str) -> Expectation | None:
        """Return the expectation of this sort."""
        return next((each for each in self.expectations if each.what == what), None)


@dataclass(slots=True)
class _Block:
    """A command and the indented lines below it."""

    line: int
    head: str
    body: list[str] = field(default_factory=list)


def parse_script(text: str) -> Iterator[Load | ClearCommand | EvalCommand]:
    """Read a script, command by command. Raises ``ScriptError`` with the line."""
    for block in _blocks(text):
        try:
            yield _command(block)
        except ValueError as error:
            raise ScriptError(f"line {block.line}: {error}") from error


def milliseconds(text: str) -> int:
    """Read a time or a length: ``90``, ``1m30s``, ``-5m``."""
    sign, text = (-1, text[1:]) if text.startswith("-") else (1, text)
    if not _DURATION.sub("", text):
        return sign * round(sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text)))
    return sign * round(float(text) * 1000)


def _blocks(text: str) -> Iterator[_Block]:
    block: _Block | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if stripped.startswith("#"):
            continue
        if not stripped:
            if block:
                yield block
            block = None
        elif block and line[0].isspace():
            block.body.append(stripped)
        else:
            if block:
                yield block
            block = _Block(number, stripped)
    if block:
        yield block


def _command(block: _Block) -> Load | ClearCommand | EvalCommand:
    verb, _, rest = block.head.partition(" ")
    if verb == "clear":
        return ClearCommand()
    if verb in {"load", "load_with_nhcb"}:
        return _load(milliseconds(rest.strip()), block.body, nhcb=verb != "load")
    if verb.startswith("eval"):
        return _eval(block)
    raise ScriptError(f"{verb!r} is no command")


def _load(step: int, body: Sequence[str], *, nhcb: bool) -> Load:
    series, native = [], []
    for line in body:
        labels, text = _split(line)
        if NATIVE in text:
            native.append(labels)
            continue
        series.append((labels, parse_values(text)))
        if nhcb and labels.name.endswith(("_bucket", "_count", "_sum")):
            native.append(Labels({**labels.drop("le"), NAME: labels.name.rpartition("_")[0]}))
    return Load(step, tuple(series), tuple(native))


def _eval(block: _Block) -> EvalCommand:
    found = _EVAL.fullmatch(block.head)
    if not found:
        raise ScriptError(f"{block.head!r} is no eval")
    verb, instant, at, start, end, step, query = found.groups()
    expectations = [Expectation(verb)] if verb else []
    series: list[tuple[Labels, tuple[float, ...]]] = []
    scalar, native = None, False
    for line in block.body:
        if line.startswith(("expect ", "expected_fail_")):
            expectations.append(_expectation(line))
        elif NATIVE in line:
            native = True
        elif _SCALAR.fullmatch(line):
            scalar = parse_run(line)[0]
        else:
            labels, text = _split(line)
            series.append((labels, parse_values(text)))
    times = (
        (milliseconds(at), milliseconds(at), 0)
        if instant
        else (milliseconds(start), milliseconds(end), milliseconds(step))
    )
    return EvalCommand(block.line, query.strip(), *times, tuple(expectations), tuple(series), scalar, native)


def _expectation(line: str) -> Expectation:
    if line.startswith("expected_fail_"):
        kind, _, rest = line.removeprefix("expected_fail_").partition(" ")
        return Expectation("fail", rest, "") if kind == "message" else Expectation("fail", "", rest)
    _, what, *more = line.split(None, 2)
    rest = more[0] if more else ""
    if what == "string":
        return Expectation(what, unquote(rest))
    if rest.startswith("msg:"):
        return Expectation(what, rest.removeprefix("msg:").strip())
    if rest.startswith("regex:"):
        return Expectation(what, "", rest.removeprefix("regex:").strip())
    return Expectation(what, rest)


def _split(line: str) -> tuple[Labels, str]:
    """Part a series from its values."""
    found = _SERIES.match(line)
    if not found:
        raise ScriptError(f"{line!r} is no series")
    return parse_series(found[1]), line[found.end() :].strip()


class ScriptSource(MemorySource):
    """A memory source that is filled by the ``load`` command of a script."""

    def load(self, text: str, *, start: int = 0) -> None:
        """Add the series of a script's ``load`` commands, with their first value at ``start`` (milliseconds)."""
        for command in parse_script(text):
            if isinstance(command, Load):
                self.add_load(command, start=start)

    def add_load(self, load: Load, *, start: int = 0) -> None:
        """Add the series of one ``load``."""
        for labels, values in load.series:
            self.add(labels, ((start + number * load.step, value) for number, value in enumerate(values)))

    def clear(self) -> None:
        """Remove all series."""
        self._samples.clear()
        self._blocks.clear()


class Verdict(StrEnum):
    """How an eval came out."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class CaseResult:
    """How one eval of a script came out, and why it failed or was skipped."""

    line: int
    query: str
    verdict: Verdict
    reason: str = ""


def run_script(
    script: str,
    *,
    source: ScriptSource | None = None,
    engine: Callable[[SeriesSource], PromqlEngine] = PromqlEngine,
) -> Iterator[CaseResult]:
    """
    Play a script and tell of each eval how it came out.

    What toban doesn't have (native histograms, what Prometheus keeps behind feature flags) is skipped, and said so.
    Positions at the end of expected messages are not compared. Raises ``ScriptError``.
    """
    source = source or ScriptSource()
    evaluator = engine(source)
    native: list[Labels] = []
    for command in parse_script(script):
        match command:
            case ClearCommand():
                source.clear()
                native.clear()
            case Load():
                source.add_load(command)
                native.extend(command.native)
            case EvalCommand():
                yield _play(command, evaluator, native)


def check_script(script: str, *, source: ScriptSource | None = None) -> None:
    """Play a script. Raises ``AssertionError`` with all that failed or was skipped."""
    troubles = [
        f"line {outcome.line}: {outcome.query}: {outcome.verdict}: {outcome.reason}"
        for outcome in run_script(script, source=source)
        if outcome.verdict is not Verdict.PASSED
    ]
    if troubles:
        raise AssertionError("\n".join(troubles))


def _play(case: EvalCommand, engine: PromqlEngine, native: Sequence[Labels]) -> CaseResult:
    reason = _unsupported(case, engine, native)
    if reason:
        return CaseResult(case.line, case.query, Verdict.SKIPPED, reason)
    expected = case.expects("fail")
    try:
        if case.step:
            result = engine.range(case.query, case.start, case.end, case.step)
        else:
            result = engine.instant(case.query, case.start)
    except QueryError as error:
        reason = _mismatch([str(error)], expected.text, expected.pattern) if expected else f"it failed: {error}"
    else:
        reason = "it should have failed" if expected else _difference(case, result)
    return CaseResult(case.line, case.query, Verdict.FAILED if reason else Verdict.PASSED, reason)


def _unsupported(case: EvalCommand, engine: PromqlEngine, native: Sequence[Labels]) -> str:
    if case.native:
        return "native histograms"
    try:
        root = engine.parse(case.query).root
    except UnsupportedError as error:
        return str(error)
    except QueryError:
        return "modifiers behind feature flags" if _UNSUPPORTED.search(case.query) else ""
    for selector in selectors(root):
        if any(matches_all(selector.matchers, labels) for labels in native):
            return "native histograms"
    return ""


def _difference(case: EvalCommand, result: QueryResult) -> str:
    """Tell how an answer differs from what was expected; nothing when it doesn't."""
    for expectation in case.expectations:
        annotations = result.warnings if expectation.what.endswith("warn") else result.infos
        if expectation.what in {"no_warn", "no_info"} and annotations:
            return f"it said {annotations}"
        if expectation.what in {"warn", "info"}:
            failure = _mismatch(annotations, expectation.text, expectation.pattern)
            if failure:
                return failure
        if expectation.what == "string" and result.text != expectation.text:
            return f"it said {result.text!r}"
    if result.type is ResultType.STRING:
        return ""
    if case.scalar is not None:
        value = result.series[0].last if result.type is ResultType.SCALAR else None
        return "" if value is not None and _alike(value, case.scalar) else f"{value} is not {case.scalar}"
    return _series_difference(case, result)


def _series_difference(case: EvalCommand, result: QueryResult) -> str:
    found = {points.labels: points for points in result.series}
    expected = dict(case.series)
    if len(found) != len(result.series):
        return "a series came twice"
    if found.keys() != expected.keys():
        return f"{[str(labels) for labels in found]} are not {[str(labels) for labels in expected]}"
    if case.expects("ordered") and list(found) != list(expected):
        return f"the order was {[str(labels) for labels in found]}"
    for labels, values in expected.items():
        times, wanted = _expected(case, values)
        points = found[labels]
        if not _same(points, times, wanted):
            return f"{labels} at {points.times.tolist()} was {points.values.tolist()}, not {wanted.tolist()}"
    return ""


def _expected(case: EvalCommand, values: Sequence[float]) -> tuple[Times, Floats]:
    ranged = case.expects("range")
    start, step = case.start, case.step
    if ranged:
        words = ranged.text.split()
        start, step = milliseconds(words[2]), milliseconds(words[6])
    wanted = np.array(values, np.float64)
    times = start + step * np.arange(len(wanted), dtype=np.int64)
    there = ~is_absent(wanted)
    return times[there], wanted[there]


def _same(points: ResultSeries, times: Times, values: Floats) -> bool:
    return np.array_equal(points.times, times) and all(map(_alike, points.values.tolist(), values.tolist()))


def _alike(found: float, wanted: float) -> bool:
    """Compare as Prometheus' own runner does: relatively, and to nought exactly."""
    if np.isnan(found) or np.isnan(wanted):
        return bool(np.isnan(found) and np.isnan(wanted))
    if found == wanted:
        return True
    size, apart = abs(found) + abs(wanted), abs(found - wanted)
    if found == 0 or wanted == 0 or size < _SMALLEST:
        return apart < _TOLERANCE * _SMALLEST
    return apart / min(size, float(np.finfo(np.float64).max)) < _TOLERANCE


def _mismatch(annotations: Sequence[str], text: str, pattern: str) -> str:
    if not annotations:
        return f"it said nothing, not {text or pattern or 'something'}"
    if text and _POSITION.sub("", text) not in annotations:
        return f"it said {annotations}, not {text!r}"
    if pattern and not any(re.search(_POSITION.sub("", pattern), each) for each in annotations):
        return f"it said {annotations}, not {pattern!r}"
    return ""
