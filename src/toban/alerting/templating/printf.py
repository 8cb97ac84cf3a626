"""Go's ``Sprintf``: https://pkg.go.dev/fmt. Errors are written into the text, as in Go."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from toban.alerting.templating.values import TemplateError, format_float, format_non_finite, format_value, go_type

_DIRECTIVE: Final = re.compile(
    r"%(?P<flags>[-+# 0]*)"
    r"(?P<width_at>\[\d{0,9}\])?(?P<width>\*|\d{1,9})?"
    r"(?P<dot>\.(?P<precision_at>\[\d{0,9}\])?(?P<precision>\*|\d{1,9})?)?"
    r"(?P<at>\[\d{0,9}\])?(?P<verb>.)?",
    re.DOTALL,
)
_MAX_WIDTH: Final = 1_000


@dataclass(frozen=True, slots=True)
class _Format:
    """The format of one value: flags, width, and precision if there is one."""

    flags: str
    width: int = 0
    precision: int | None = None

    def padded(self, text: str) -> str:
        """Pad a text to the width."""
        return text.ljust(self.width) if "-" in self.flags else text.rjust(self.width)

    def number(self, sign: str, digits: str) -> str:
        """Return a sign and digits, with zeros between them if the flags say so."""
        sign = sign or ("+" if "+" in self.flags else " " if " " in self.flags else "")
        if "0" in self.flags and "-" not in self.flags:
            digits = digits.rjust(self.width - len(sign), "0")
        return self.padded(sign + digits)


class _Arguments:
    """The values that are not formatted yet, in order or by their index in brackets, counted from 1."""

    def __init__(self, values: Sequence[Any]) -> None:
        self._values = values
        self._next = 0
        self._reordered = False
        self._good = True

    def move(self, bracket: str | None) -> None:
        """Continue with the value of an index."""
        if bracket:
            number = int(bracket[1:-1] or 0)
            self._reordered = True
            self._good = 1 <= number <= len(self._values)
            self._next = number - 1 if self._good else self._next

    def take(self) -> tuple[Any, str]:
        """Return the next value, or why there is none."""
        if not self._good:
            self._good = True
            return None, "BADINDEX"
        if self._next >= len(self._values):
            return None, "MISSING"
        self._next += 1
        return self._values[self._next - 1], ""

    def left(self) -> Sequence[Any]:
        """Return the values that no directive used, if none used an index."""
        return () if self._reordered else self._values[self._next :]


def sprintf(pattern: str, values: Sequence[Any]) -> str:
    """Format values as Go's ``Sprintf``. Raises ``TemplateError`` when a width is too large."""
    arguments = _Arguments(values)
    result = _DIRECTIVE.sub(lambda found: _directive(found, arguments), pattern)
    if left := arguments.left():
        result += f"%!(EXTRA {', '.join(f'{go_type(value)}={format_value(value)}' for value in left)})"
    return result


def _directive(found: re.Match[str], arguments: _Arguments) -> str:
    bad, verb, flags = "", found["verb"], found["flags"]
    arguments.move(found["width_at"])
    width, wrong = _length(found["width"], arguments)
    bad += "%!(BADWIDTH)" if wrong else ""
    if width is not None and width < 0:
        width, flags = -width, flags + "-"
    precision: int | None = None
    if found["dot"]:
        arguments.move(found["precision_at"])
        precision, wrong = _length(found["precision"], arguments)
        wrong = wrong or (precision is not None and precision < 0)
        bad += "%!(BADPREC)" if wrong else ""
        precision = None if wrong else precision or 0
    arguments.move(found["at"])
    if verb is None:
        return bad + "%!(NOVERB)"
    if max(width or 0, precision or 0) > _MAX_WIDTH:
        raise TemplateError(f"{found[0]}: wider than {_MAX_WIDTH}")
    if verb == "%":
        return bad + "%"
    value, missing = arguments.take()
    if missing:
        return f"{bad}%!{verb}({missing})"
    return bad + _written(_Format(flags, width or 0, precision), verb, value)


def _length(result: str | None, arguments: _Arguments) -> tuple[int | None, bool]:
    """Return a width or precision, and whether the value of ``*`` is invalid."""
    if result != "*":
        return (int(result) if result else None), False
    value, missing = arguments.take()
    if missing or isinstance(value, bool) or not isinstance(value, int) or abs(value) > 1_000_000:
        return None, True
    return value, False


def _written(form: _Format, verb: str, value: Any) -> str:
    if verb == "T":
        return form.padded(go_type(value))
    result: str | None = None
    if isinstance(value, bool):
        result = form.padded(format_value(value)) if verb in "tv" else None
    elif isinstance(value, int):
        result = _integer(form, verb, value)
    elif isinstance(value, float):
        result = _float(form, verb, value)
    elif isinstance(value, str):
        result = _text(form, verb, value)
    elif verb in "vs":
        result = form.padded(format_value(value))
    return f"%!{verb}({go_type(value)}={format_value(value)})" if result is None else result


def _integer(form: _Format, verb: str, value: int) -> str | None:
    if verb in "cqU":
        if not 0 <= value <= 0x10FFFF or 0xD800 <= value <= 0xDFFF:
            value = 0xFFFD if verb != "U" else value
        char = f"U+{value:04X}" if verb == "U" else f"'{chr(value)}'" if verb == "q" else chr(value)
        return form.padded(char + (f" '{chr(value)}'" if verb == "U" and "#" in form.flags else ""))
    base = {"v": "d", "d": "d", "b": "b", "o": "o", "O": "o", "x": "x", "X": "X"}.get(verb)
    if base is None:
        return None
    digits = format(abs(value), base)
    if form.precision is not None:
        digits = "" if form.precision == 0 and value == 0 else digits.rjust(form.precision, "0")
        form = _Format(form.flags.replace("0", ""), form.width, form.precision)
    prefix = {"b": "0b", "o": "0", "x": "0x", "X": "0X"}.get(verb, "") if "#" in form.flags else ""
    prefix = "0o" if verb == "O" else prefix
    return form.number("-" if value < 0 else "", prefix + digits)


def _float(form: _Format, verb: str, value: float) -> str | None:
    if verb not in "vfFeEgG":
        return None
    if value != value or value in (float("inf"), float("-inf")):
        # Infinity and NaN are not padded with zeros.
        plain = _Format(form.flags.replace("0", ""), form.width)
        result = format_non_finite(value)
        return plain.padded(result if "+" in form.flags else result.lstrip("+"))
    if verb in "vgG" and form.precision is None:
        result = format_float(value)
    else:
        kind = {"v": "g", "F": "f"}.get(verb, verb)
        result = format(value, f".{6 if form.precision is None else form.precision}{kind}")
    sign, digits = ("-", result[1:]) if result.startswith("-") else ("", result)
    return form.number(sign, digits.upper() if verb == "G" else digits)


def _text(form: _Format, verb: str, value: str) -> str | None:
    if verb in "vs":
        quoted = verb == "v" and "#" in form.flags
        cut = value if form.precision is None else value[: form.precision]
        return form.padded(_quoted(value) if quoted else cut)
    if verb == "q":
        raw = "#" in form.flags and "`" not in value and value.isprintable()
        return form.padded(f"`{value}`" if raw else _quoted(value))
    if verb in "xX":
        separator = " " if " " in form.flags else ""
        digits = value.encode().hex(separator) if separator else value.encode().hex()
        return form.padded(digits.upper() if verb == "X" else digits)
    return None


_ESCAPES: Final = {
    "\a": r"\a",
    "\b": r"\b",
    "\f": r"\f",
    "\n": r"\n",
    "\r": r"\r",
    "\t": r"\t",
    "\v": r"\v",
    '"': r"\"",
    "\\": r"\\",
}


def _quoted(value: str) -> str:
    """Quote a text as Go's ``strconv.Quote``."""
    return f'"{"".join(_ESCAPES.get(sign) or (sign if sign.isprintable() else _escaped(sign)) for sign in value)}"'


def _escaped(sign: str) -> str:
    code = ord(sign)
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"
