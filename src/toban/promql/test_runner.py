"""
Series in memory, and Prometheus' test language to question them in.

``MemorySource`` stands for a store; ``run_script`` plays a script against an engine over one.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from toban.core.errors import QueryError
from toban.core.labels import NAME, Labels
from toban.core.matchers import Matcher, MatchOperator, matches_all
from toban.core.ports import SeriesSource
from toban.core.query_result import QueryResult, ResultSeries, ResultType
from toban.core.samples import ABSENT, MetricFamily, SeriesBlock, is_absent
from toban.promql.engine import PromqlEngine
from toban.promql.parser import UnsupportedError
from toban.promql.syntax_tree import selectors
from toban.promql.test_language import Clear, Eval, Load, milliseconds, parse_script
from toban.promql.vectors import Floats, Times

_TOLERANCE: Final = 1e-6
_SMALLEST: Final = float(np.finfo(np.float64).tiny)
_NOT_OURS = re.compile(r"\b(?:anchored|smoothed|fill|fill_left|fill_right)\b|</|>/|(?:\[|offset\s+)[^\]]*[-+*/^]\s*\d")
_POSITION = re.compile(r"\s*\\?\(\[?\d[^()]*\\?\)$")


class MemorySource:
    """
    A ``SeriesSource`` over series in memory, at any times, before 1970 too.

    ``shared`` puts all series into one block, with gaps where one has no sample at a time of another; otherwise each
    series is a block. The answers must be the same.
    """

    def __init__(self, *, shared: bool = False) -> None:
        self._shared = shared
        self._samples: dict[str, dict[Labels, dict[int, float]]] = {}
        """The samples of each series, by the name of its metric and its labels."""
        self._blocks: dict[str, list[SeriesBlock]] = {}
        """What was packed of them since they changed, by the name of the metric; all under no name when shared."""

    def add(self, labels: Mapping[str, str], samples: Iterable[tuple[int, float]]) -> None:
        """Add samples to a series: times in milliseconds, and values. A later one at the same time replaces."""
        series = Labels(labels)
        kept = self._samples.setdefault(series.name, {}).setdefault(series, {})
        kept.update((at, value) for at, value in samples if not is_absent(np.array([value]))[0])
        self._blocks.pop("" if self._shared else series.name, None)

    def load(self, text: str, *, start: int = 0) -> None:
        """Add what the ``load`` commands of a script say, the first sample at ``start`` (milliseconds)."""
        for command in parse_script(text):
            if isinstance(command, Load):
                self.add_load(command, start=start)

    def add_load(self, load: Load, *, start: int = 0) -> None:
        """Add the series of one ``load``."""
        for labels, values in load.series:
            self.add(labels, ((start + number * load.step, value) for number, value in enumerate(values)))

    def oldest(self, matchers: Sequence[Matcher]) -> int | None:
        """Return the time of the oldest sample of all series that match, nothing where there is none."""
        found = [samples for labels, samples in self._all() if samples and matches_all(matchers, labels)]
        return min((min(samples) for samples in found), default=None)

    def clear(self) -> None:
        """Remove all series."""
        self._samples.clear()
        self._blocks.clear()

    def select(
        self, matchers: Sequence[Matcher], start: int, end: int, most: int | None = None
    ) -> Sequence[SeriesBlock]:
        """Return the samples of all series that match."""
        found = []
        for block in self._candidates(matchers):
            rows = [row for row, labels in enumerate(block.series) if matches_all(matchers, labels)]
            if not rows:
                continue
            first, last = np.searchsorted(block.times, [start, end + 1])
            if first < last:
                values = (
                    block.values[rows, first:last] if len(rows) < len(block.series) else block.values[:, first:last]
                )
                found.append(SeriesBlock(tuple(block.series[row] for row in rows), block.times[first:last], values))
        return found

    def series(self, matchers: Sequence[Matcher], start: int, end: int) -> Sequence[Labels]:
        """Return the labels of all series that match."""
        return [
            labels
            for block in self.select(matchers, start, end)
            for labels, values in zip(block.series, block.values, strict=True)
            if not is_absent(values).all()
        ]

    def families(self) -> Mapping[str, MetricFamily]:
        """Return nothing: no metadata is kept."""
        return {}

    def _all(self) -> list[tuple[Labels, dict[int, float]]]:
        return [it for of_metric in self._samples.values() for it in of_metric.items()]

    def _candidates(self, matchers: Sequence[Matcher]) -> Iterator[SeriesBlock]:
        """Return blocks with all series that match, and with others."""
        if self._shared:
            if "" not in self._blocks:
                self._blocks[""] = [_block(sorted(self._all(), key=_in_order))] if self._samples else []
            yield from self._blocks[""]
            return
        equal = {it.value for it in matchers if it.name == NAME and it.operator is MatchOperator.EQUAL}
        for name in sorted(equal & self._samples.keys()) if equal else sorted(self._samples):
            if name not in self._blocks:
                self._blocks[name] = [_block([it]) for it in sorted(self._samples[name].items(), key=_in_order)]
            yield from self._blocks[name]


def _in_order(series: tuple[Labels, dict[int, float]]) -> tuple[tuple[str, str], ...]:
    return tuple(series[0].items())


def _block(series: Sequence[tuple[Labels, dict[int, float]]]) -> SeriesBlock:
    times = sorted({at for _, samples in series for at in samples})
    values = [[samples.get(at, ABSENT) for at in times] for _, samples in series]
    return SeriesBlock(
        tuple(labels for labels, _ in series),
        np.array(times, np.int64),
        np.array(values, np.float64).reshape(len(series), -1),
    )


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
    source: MemorySource | None = None,
    engine: Callable[[SeriesSource], PromqlEngine] = PromqlEngine,
) -> Iterator[CaseResult]:
    """
    Play a script and tell of each eval how it came out.

    What toban doesn't have (native histograms, what Prometheus keeps behind feature flags) is skipped, and said so.
    Positions at the end of expected messages are not compared. Raises ``ScriptError``.
    """
    source = source or MemorySource()
    asked = engine(source)
    native: list[Labels] = []
    for command in parse_script(script):
        match command:
            case Clear():
                source.clear()
                native.clear()
            case Load():
                source.add_load(command)
                native.extend(command.native)
            case Eval():
                yield _play(command, asked, native)


def check_script(script: str, *, source: MemorySource | None = None) -> None:
    """Play a script. Raises ``AssertionError`` with all that failed or was skipped."""
    troubles = [
        f"line {outcome.line}: {outcome.query}: {outcome.verdict}: {outcome.reason}"
        for outcome in run_script(script, source=source)
        if outcome.verdict is not Verdict.PASSED
    ]
    if troubles:
        raise AssertionError("\n".join(troubles))


def _play(case: Eval, engine: PromqlEngine, native: Sequence[Labels]) -> CaseResult:
    reason = _not_ours(case, engine, native)
    if reason:
        return CaseResult(case.line, case.query, Verdict.SKIPPED, reason)
    expected = case.expects("fail")
    try:
        if case.step:
            answer = engine.range(case.query, case.start, case.end, case.step)
        else:
            answer = engine.instant(case.query, case.start)
    except QueryError as error:
        reason = _mismatch([str(error)], expected.text, expected.pattern) if expected else f"it failed: {error}"
    else:
        reason = "it should have failed" if expected else _difference(case, answer)
    return CaseResult(case.line, case.query, Verdict.FAILED if reason else Verdict.PASSED, reason)


def _not_ours(case: Eval, engine: PromqlEngine, native: Sequence[Labels]) -> str:
    if case.native:
        return "native histograms"
    try:
        root = engine.parse(case.query).root
    except UnsupportedError as error:
        return str(error)
    except QueryError:
        return "modifiers behind feature flags" if _NOT_OURS.search(case.query) else ""
    for selector in selectors(root):
        if any(matches_all(selector.matchers, labels) for labels in native):
            return "native histograms"
    return ""


def _difference(case: Eval, answer: QueryResult) -> str:
    """Tell how an answer differs from what was expected; nothing when it doesn't."""
    for expectation in case.expectations:
        said = answer.warnings if expectation.what.endswith("warn") else answer.infos
        if expectation.what in {"no_warn", "no_info"} and said:
            return f"it said {said}"
        if expectation.what in {"warn", "info"}:
            trouble = _mismatch(said, expectation.text, expectation.pattern)
            if trouble:
                return trouble
        if expectation.what == "string" and answer.text != expectation.text:
            return f"it said {answer.text!r}"
    if answer.type is ResultType.STRING:
        return ""
    if case.scalar is not None:
        value = answer.series[0].last if answer.type is ResultType.SCALAR else None
        return "" if value is not None and _alike(value, case.scalar) else f"{value} is not {case.scalar}"
    return _series_difference(case, answer)


def _series_difference(case: Eval, answer: QueryResult) -> str:
    found = {points.labels: points for points in answer.series}
    expected = dict(case.series)
    if len(found) != len(answer.series):
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


def _expected(case: Eval, values: Sequence[float]) -> tuple[Times, Floats]:
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


def _mismatch(said: Sequence[str], text: str, pattern: str) -> str:
    if not said:
        return f"it said nothing, not {text or pattern or 'something'}"
    if text and _POSITION.sub("", text) not in said:
        return f"it said {said}, not {text!r}"
    if pattern and not any(re.search(_POSITION.sub("", pattern), each) for each in said):
        return f"it said {said}, not {pattern!r}"
    return ""
