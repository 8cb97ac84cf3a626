"""Values as Go sees and writes them."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from toban.core.errors import TobanError

_VERB: Final = re.compile(r"%([-+# 0]*)(\d*)(?:\.(\d*))?([a-zA-Z%])")
_WIDEST: Final = 1_000


class TemplateError(TobanError):
    """A template is wrong, or can't be rendered with what it was given."""


@dataclass(frozen=True, slots=True)
class Found:
    """One series of what a query in a template came to; its fields are called as in Prometheus."""

    labels: Mapping[str, str]
    value: float


def is_true(value: Any) -> bool:
    """Tell whether Go's ``if`` takes a value for true."""
    return bool(value) or isinstance(value, Found)


def field(value: Any, name: str) -> Any:
    """Return a field; one that a mapping lacks is an empty text. Raises ``TemplateError``."""
    if isinstance(value, Mapping):
        return value.get(name, "")
    if isinstance(value, Found) and name in {"Labels", "Value"}:
        return value.labels if name == "Labels" else value.value
    raise TemplateError(f"can't evaluate field {name} in {written(value)}")


def number(value: Any) -> float:
    """Return a number or the number that a text says. Raises ``TemplateError``."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TemplateError(f"can't convert {written(value)} to a number")
    try:
        return float(value)
    except ValueError as error:
        raise TemplateError(f"{value!r} is no number") from error


def text(value: Any) -> str:
    """Return a text. Raises ``TemplateError`` for anything else."""
    if not isinstance(value, str):
        raise TemplateError(f"{written(value)} is no text")
    return value


def written(value: Any) -> str:
    """Write a value as Go's ``%v`` does."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return float_written(value)
    if isinstance(value, Mapping):
        return f"map[{' '.join(f'{key}:{written(value[key])}' for key in sorted(value))}]"
    if isinstance(value, Found):
        return f"{{{written(value.labels)} {float_written(value.value)}}}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{' '.join(written(one) for one in value)}]"
    return str(value)


def float_written(value: float) -> str:
    """Write a float as Go does: as few digits as tell it apart, an exponent below 1e-04 and from 1e+06 on."""
    if not math.isfinite(value):
        return _not_finite(value)
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    if value == 0:
        return "-0" if sign else "0"
    power = len(digits) + int(exponent) - 1
    if -4 <= power < 6:
        return format(Decimal(repr(value)).normalize(), "f")
    figures = "".join(map(str, digits))
    mantissa = f"{figures[0]}.{figures[1:]}" if figures[1:] else figures
    return f"{'-' if sign else ''}{mantissa}e{power:+03d}"


def short(value: float) -> str:
    """Write a float with four digits that count, as Go's ``%.4g``."""
    return f"{value:.4g}" if math.isfinite(value) else _not_finite(value)


def _not_finite(value: float) -> str:
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def formatted(pattern: str, values: Sequence[Any]) -> str:
    """Do what Go's ``Sprintf`` does: what does not fit is said in the text. Raises ``TemplateError`` when too wide."""
    left = list(values)

    def one(found: re.Match[str]) -> str:
        flags, width, precision, verb = found.groups()
        if verb == "%":
            return "%"
        if int(width or 0) > _WIDEST or int(precision or 0) > _WIDEST:
            raise TemplateError(f"{found[0]}: wider than {_WIDEST}")
        if not left:
            return f"%!{verb}(MISSING)"
        value = left.pop(0)
        body = _verb(verb, value, precision, flags)
        if body is None:
            return f"%!{verb}({_go_type(value)}={written(value)})"
        fill = "0" if "0" in flags and "-" not in flags and isinstance(value, int | float) else " "
        if fill == "0" and body[:1] in "+-":
            return body[0] + body[1:].rjust(int(width or 0) - 1, "0")
        return body.ljust(int(width or 0)) if "-" in flags else body.rjust(int(width or 0), fill)

    result = _VERB.sub(one, pattern)
    if left:
        result += f"%!(EXTRA {', '.join(f'{_go_type(value)}={written(value)}' for value in left)})"
    return result


def _verb(verb: str, value: Any, precision: str | None, flags: str) -> str | None:
    """Return what one verb makes of a value; nothing when they don't fit."""
    plus = "+" if "+" in flags else ""
    if verb == "v":
        return written(value)
    if verb == "s" and not isinstance(value, int | float):
        shown = written(value)
        return shown if precision is None else shown[: int(precision or 0)]
    if verb == "q" and isinstance(value, str):
        return '"' + value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n").replace("\t", r"\t") + '"'
    if verb == "t" and isinstance(value, bool):
        return written(value)
    if isinstance(value, bool):
        return None
    if verb in "dxXob" and isinstance(value, int):
        return format(value, plus + verb)
    if verb in "feEgGF" and isinstance(value, float):
        if not math.isfinite(value):
            return _not_finite(value)
        if precision is None and verb in "gG":
            return plus * (value >= 0) + float_written(value)
        return format(value, f"{plus}.{int(precision or 0) if precision is not None else 6}{verb}")
    return None


def _go_type(value: Any) -> str:
    names = {bool: "bool", int: "int", float: "float64", str: "string", type(None): "<nil>"}
    return names.get(type(value), "map[string]string" if isinstance(value, Mapping) else "template.queryResult")
