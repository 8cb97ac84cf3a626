"""The language in which Prometheus tests its own engine, read."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from toban.core.labels import METRIC_NAME, NAME, Labels
from toban.core.samples import ABSENT, STALE

NATIVE: Final = "{{"
"""How a native histogram begins."""

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w|y)")
_UNITS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000, "y": 31_536_000_000}
_NUMBER = r"(?:[-+]?(?:inf|nan|(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?))"
_RUN = re.compile(rf"({_NUMBER})(?:([-+])({_NUMBER[:-1]}))?)?(?:x(\d+))?", re.IGNORECASE)
_QUOTED = r"""(?:"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)"""
_PAIR = re.compile(rf"\s*(?:({_QUOTED})|([a-zA-Z_:][\w:.]*))\s*(?:=\s*({_QUOTED})\s*)?,?")
_SERIES = re.compile(rf"([^\s{{\"'`]*\s*(?:\{{(?!\{{)(?:{_QUOTED}|[^}}\"'`])*\}})?)")
_TIME = r"([^\s]+)"
_EVAL = re.compile(
    rf"eval(?:_(fail|warn|info|ordered))?\s+"
    rf"(?:(instant)\s+at\s+{_TIME}|range\s+from\s+{_TIME}\s+to\s+{_TIME}\s+step\s+{_TIME})\s+(.+)",
    re.DOTALL,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


class TestScriptError(ValueError):
    """A line that is not in the language."""


@dataclass(frozen=True, slots=True)
class Load:
    """Series to keep: labels, and a value for each step from nought on. Those ``native`` had histograms: left out."""

    step: int
    series: tuple[tuple[Labels, tuple[float, ...]], ...]
    native: tuple[Labels, ...] = ()


@dataclass(frozen=True, slots=True)
class Clear:
    """Forget everything."""


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
class Eval:
    """A question, and what it must come to; times in milliseconds, without ``step`` at one time."""

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


def parse_script(text: str) -> Iterator[Load | Clear | Eval]:
    """Read a script, command by command. Raises ``TestScriptError`` with the line."""
    for block in _blocks(text):
        try:
            yield _command(block)
        except ValueError as error:
            raise TestScriptError(f"line {block.line}: {error}") from error


def milliseconds(text: str) -> int:
    """Read a time or a length: ``90``, ``1m30s``, ``-5m``."""
    sign, text = (-1, text[1:]) if text.startswith("-") else (1, text)
    if not _DURATION.sub("", text):
        return sign * round(sum(float(number) * _UNITS[unit] for number, unit in _DURATION.findall(text)))
    return sign * round(float(text) * 1000)


def values_of(text: str) -> tuple[float, ...]:
    """
    Read a series' values: ``0+10x5 _ stale NaN``.

    ``_`` is ``ABSENT``. Raises ``TestScriptError``; a native histogram is one too.
    """
    values: list[float] = []
    for word in text.split():
        if word.startswith("_"):
            values.extend([ABSENT] * int(word[2:] or 1))
        elif word.startswith("stale"):
            values.extend([STALE] * (int(word[6:]) + 1 if word[5:] else 1))
        else:
            values.extend(_run(word))
    return tuple(values)


def labels_of(text: str) -> Labels:
    """Read a series: ``name{label="value"}``. Raises ``TestScriptError`` for what is none."""
    name, brace, inside = text.strip().partition("{")
    pairs = {NAME: name.strip()}
    if not METRIC_NAME.fullmatch(pairs[NAME]) and (pairs[NAME] or not brace):
        raise TestScriptError(f"{text!r} is no series")
    if not brace:
        return Labels(pairs)
    if not inside.endswith("}"):
        raise TestScriptError(f"{text!r} is no series: its braces are not closed")
    inside = inside.removesuffix("}")
    at = 0
    while inside[at:].strip():
        pair = _PAIR.match(inside, at)
        if not pair:
            raise TestScriptError(f"{text!r} is no series")
        label = _unquoted(pair[1]) if pair[1] is not None else pair[2]
        if pair[3] is None:
            pairs[NAME] = label
        else:
            pairs[label] = _unquoted(pair[3])
        at = pair.end()
    return Labels(pairs)


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


def _command(block: _Block) -> Load | Clear | Eval:
    verb, _, rest = block.head.partition(" ")
    if verb == "clear":
        return Clear()
    if verb in {"load", "load_with_nhcb"}:
        return _load(milliseconds(rest.strip()), block.body, nhcb=verb != "load")
    if verb.startswith("eval"):
        return _eval(block)
    raise TestScriptError(f"{verb!r} is no command")


def _load(step: int, body: Sequence[str], *, nhcb: bool) -> Load:
    series, native = [], []
    for line in body:
        labels, text = _split(line)
        if NATIVE in text:
            native.append(labels)
            continue
        series.append((labels, values_of(text)))
        if nhcb and labels.name.endswith(("_bucket", "_count", "_sum")):
            native.append(Labels({**labels.drop("le"), NAME: labels.name.rpartition("_")[0]}))
    return Load(step, tuple(series), tuple(native))


def _eval(block: _Block) -> Eval:
    found = _EVAL.fullmatch(block.head)
    if not found:
        raise TestScriptError(f"{block.head!r} is no eval")
    verb, instant, at, start, end, step, query = found.groups()
    expectations = [Expectation(verb)] if verb else []
    series: list[tuple[Labels, tuple[float, ...]]] = []
    scalar, native = None, False
    for line in block.body:
        if line.startswith(("expect ", "expected_fail_")):
            expectations.append(_expectation(line))
        elif NATIVE in line:
            native = True
        elif _RUN.fullmatch(line):
            scalar = _run(line)[0]
        else:
            labels, text = _split(line)
            series.append((labels, values_of(text)))
    times = (
        (milliseconds(at), milliseconds(at), 0)
        if instant
        else (milliseconds(start), milliseconds(end), milliseconds(step))
    )
    return Eval(block.line, query.strip(), *times, tuple(expectations), tuple(series), scalar, native)


def _expectation(line: str) -> Expectation:
    if line.startswith("expected_fail_"):
        kind, _, rest = line.removeprefix("expected_fail_").partition(" ")
        return Expectation("fail", rest, "") if kind == "message" else Expectation("fail", "", rest)
    _, what, *more = line.split(None, 2)
    rest = more[0] if more else ""
    if what == "string":
        return Expectation(what, _unquoted(rest))
    if rest.startswith("msg:"):
        return Expectation(what, rest.removeprefix("msg:").strip())
    if rest.startswith("regex:"):
        return Expectation(what, "", rest.removeprefix("regex:").strip())
    return Expectation(what, rest)


def _split(line: str) -> tuple[Labels, str]:
    """Part a series from its values."""
    found = _SERIES.match(line)
    if not found:
        raise TestScriptError(f"{line!r} is no series")
    return labels_of(found[1]), line[found.end() :].strip()


def _run(word: str) -> list[float]:
    """Read ``3``, ``3x4``, ``3+2x4``: a start, a growth, and how often."""
    found = _RUN.fullmatch(word)
    if not found:
        raise TestScriptError(f"{word!r} is no value")
    start, sign, growth, times = found.groups()
    value, by = float(start), 0.0 if growth is None else float(f"{sign}1") * float(growth)
    result = [value]
    for _ in range(int(times or 0)):
        result.append(result[-1] + by if growth is not None else value)
    return result


def _unquoted(text: str) -> str:
    if text[0] == "`":
        return text[1:-1]
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), text[1:-1])
