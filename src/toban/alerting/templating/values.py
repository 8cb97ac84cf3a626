"""Values of templates, compared, converted and formatted as in Go."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from toban.core.errors import TobanError


class TemplateError(TobanError):
    """A template is invalid, or can't be rendered."""


@dataclass(frozen=True, slots=True)
class TemplateSample:
    """One series of a query's result in a template."""

    labels: Mapping[str, str]
    value: float


def is_true(value: Any) -> bool:
    """Return whether Go's ``if`` treats a value as true."""
    return bool(value) or isinstance(value, TemplateSample)


def field(value: Any, name: str) -> Any:
    """Return a field; a missing key of a mapping is an empty string. Raises ``TemplateError``."""
    if isinstance(value, Mapping):
        return value.get(name, "")
    if isinstance(value, TemplateSample) and name in {"Labels", "Value"}:
        return value.labels if name == "Labels" else value.value
    raise TemplateError(f"can't evaluate field {name} in {format_value(value)}")


def number(value: Any) -> float:
    """Return a number, parsed if it is a string. Raises ``TemplateError``."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TemplateError(f"can't convert {format_value(value)} to a number")
    try:
        return float(value)
    except ValueError as error:
        raise TemplateError(f"{value!r} is not a number") from error


def text(value: Any) -> str:
    """Return a string. Raises ``TemplateError`` for anything else."""
    if not isinstance(value, str):
        raise TemplateError(f"{format_value(value)} is not a string")
    return value


def format_value(value: Any) -> str:
    """Format a value as Go's ``%v``."""
    if value is None:
        return "<nil>"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return format_float(value)
    if isinstance(value, Mapping):
        return f"map[{' '.join(f'{key}:{format_value(value[key])}' for key in sorted(value))}]"
    if isinstance(value, TemplateSample):
        return f"{{{format_value(value.labels)} {format_float(value.value)}}}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{' '.join(format_value(one) for one in value)}]"
    return str(value)


def format_float(value: float) -> str:
    """Format a float as Go does: the shortest digits, with an exponent below 1e-04 and from 1e+06 on."""
    if not math.isfinite(value):
        return format_non_finite(value)
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    if value == 0:
        return "-0" if sign else "0"
    power = len(digits) + int(exponent) - 1
    if -4 <= power < 6:
        return format(Decimal(repr(value)).normalize(), "f")
    figures = "".join(map(str, digits))
    mantissa = f"{figures[0]}.{figures[1:]}" if figures[1:] else figures
    return f"{'-' if sign else ''}{mantissa}e{power:+03d}"


def format_short(value: float) -> str:
    """Format a float with four significant digits, as Go's ``%.4g``."""
    return f"{value:.4g}" if math.isfinite(value) else format_non_finite(value)


def format_non_finite(value: float) -> str:
    """Format infinity or NaN as Go does."""
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def go_type(value: Any) -> str:
    """Return the name of a value's type in Go."""
    names = {bool: "bool", int: "int", float: "float64", str: "string", type(None): "<nil>"}
    return names.get(type(value), "map[string]string" if isinstance(value, Mapping) else "template.queryResult")
