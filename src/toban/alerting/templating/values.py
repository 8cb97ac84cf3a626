"""Values as Go sees and writes them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from toban.core.errors import TobanError


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
        return not_finite(value)
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
    return f"{value:.4g}" if math.isfinite(value) else not_finite(value)


def not_finite(value: float) -> str:
    """Write what is no finite number as Go does."""
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def go_type(value: Any) -> str:
    """Return the name of a value's type in Go."""
    names = {bool: "bool", int: "int", float: "float64", str: "string", type(None): "<nil>"}
    return names.get(type(value), "map[string]string" if isinstance(value, Mapping) else "template.queryResult")
