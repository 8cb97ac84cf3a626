"""Templates of labels and annotations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from toban.alerting.templating.functions import FUNCTIONS, NEED_EXTERNAL_URL, SHORT_CIRCUIT
from toban.alerting.templating.parser import parse_template
from toban.alerting.templating.syntax_tree import (
    Call,
    FieldAccess,
    If,
    Literal,
    Operand,
    Part,
    Pipeline,
    PlainText,
    Range,
    Variable,
)
from toban.alerting.templating.values import TemplateError, TemplateSample, format_value, is_true
from toban.alerting.templating.values import field as field_of

MAX_LENGTH: Final = 100_000
"""How many characters a rendered text may have."""

MAX_STEPS: Final = 10_000
"""How many parts may be rendered: nested ``range`` actions could go on for long."""


@dataclass(frozen=True, slots=True)
class External:
    """The external URL and external labels, which templates can read."""

    url: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


NO_EXTERNAL: Final = External()
"""No external URL and labels."""


class QueryRequired(Exception):  # noqa: N818  # not an error: the text is rendered again with the result
    """A template needs the result of a query."""

    def __init__(self, query: str) -> None:
        super().__init__(query)
        self.query = query


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed template. Raises ``TemplateError`` when the source is invalid."""

    source: str
    parts: Sequence[Part] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(
            self, "parts", parse_template(self.source) if "{{" in self.source else (PlainText(self.source),)
        )

    def render(
        self,
        labels: Mapping[str, str],
        value: float,
        query_results: Mapping[str, Sequence[TemplateSample]] | None = None,
        external: External = NO_EXTERNAL,
    ) -> str:
        """
        Return the text for an alert.

        ``query_results`` are the results of queries. Raises ``QueryRequired`` when one is missing, and
        ``TemplateError`` for any error.
        """
        given = {"labels": labels, "value": value, "externalLabels": external.labels, "externalURL": external.url}
        dot = {"Labels": labels, "Value": value, "ExternalLabels": external.labels, "ExternalURL": external.url}
        try:
            return _Rendering(query_results or {}, given, dot).text(self.parts)
        except (TemplateError, QueryRequired):
            raise
        except Exception as error:  # whatever a template from a file does, it costs only its own text
            raise TemplateError(f"{type(error).__name__}: {error}") from error


class _Rendering:
    """The rendering of one template."""

    def __init__(
        self, query_results: Mapping[str, Sequence[TemplateSample]], given: Mapping[str, Any], dot: Any
    ) -> None:
        self._query_results = query_results
        self._scopes: list[dict[str, Any]] = [{**given, ".": dot}]
        self._dot = dot
        self._steps = 0
        self._length = 0

    def text(self, parts: Sequence[Part]) -> str:
        """Render parts."""
        pieces = [self._part(part) for part in parts]
        return "".join(pieces)

    def _part(self, part: Part) -> str:
        self._steps += 1
        if self._steps > MAX_STEPS:
            raise TemplateError(f"more than {MAX_STEPS} steps")
        match part:
            case PlainText(text):
                return self._limited(text)
            case Pipeline():
                value = self._value(part)
                return "" if part.into else self._limited(format_value(value))
            case If():
                return self._if(part)
            case Range():
                return self._range(part)

    def _limited(self, text: str) -> str:
        self._length += len(text)
        if self._length > MAX_LENGTH:
            raise TemplateError(f"longer than {MAX_LENGTH} characters")
        return text

    def _if(self, part: If) -> str:
        with_value = self._value(part.condition)
        if not is_true(with_value):
            return self._inside(part.otherwise, self._dot)
        return self._inside(part.body, with_value if part.rebinds else self._dot)

    def _range(self, part: Range) -> str:
        over = self._value(part.over)
        if isinstance(over, str | int | float | None):
            raise TemplateError(f"range can't iterate over {format_value(over)}")
        pairs = sorted(over.items()) if isinstance(over, Mapping) else list(enumerate(over))
        if not pairs:
            return self._inside(part.otherwise, self._dot)
        return "".join(
            self._inside(part.body, element, {part.index: index, part.element: element}) for index, element in pairs
        )

    def _inside(self, parts: Sequence[Part], dot: Any, names: Mapping[str, Any] | None = None) -> str:
        before, self._dot = self._dot, dot
        self._scopes.append({name: value for name, value in (names or {}).items() if name})
        try:
            return self.text(parts)
        finally:
            self._scopes.pop()
            self._dot = before

    def _value(self, operand: Operand) -> Any:
        match operand:
            case Literal(value):
                return value
            case Variable(name, fields):
                value = self._dot if not name else next(it[name] for it in reversed(self._scopes) if name in it)
                return self._fields_of(value, fields)
            case FieldAccess(of, fields):
                return self._fields_of(self._value(of), fields)
            case Call():
                return self._call(operand)
            case Pipeline(first, then, into, declares):
                value = self._value(first)
                for command in then:
                    value = self._call(command, value)
                if into:
                    scope = self._scopes[-1] if declares else next(it for it in self._scopes[::-1] if into in it)
                    scope[into] = value
                return value

    def _fields_of(self, value: Any, fields: Sequence[str]) -> Any:
        for name in fields:
            value = field_of(value, name)
        return value

    def _call(self, call: Call, *given: Any) -> Any:
        if call.function in SHORT_CIRCUIT:
            return self._short_circuit(call, *given)
        values = [*(self._value(argument) for argument in call.arguments), *given]
        if call.function in NEED_EXTERNAL_URL:
            values.insert(0, self._scopes[0]["externalURL"])
        if call.function == "query":
            query = values[0]
            if not isinstance(query, str):
                raise TemplateError(f"query: {format_value(query)} is not a string")
            if query not in self._query_results:
                raise QueryRequired(query)
            return self._query_results[query]
        value = FUNCTIONS[call.function].call(*values)
        if isinstance(value, str) and len(value) > MAX_LENGTH:
            raise TemplateError(f"longer than {MAX_LENGTH} characters")
        return value

    def _short_circuit(self, call: Call, *given: Any) -> Any:
        """Evaluate ``and`` and ``or`` as Go does: up to the argument that decides."""
        value: Any = None
        for argument in call.arguments:
            value = self._value(argument)
            if is_true(value) is (call.function == "or"):
                return value
        return given[0] if given else value
