"""Templates of labels and annotations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from toban.alerting.templating.functions import ABOUT, FUNCTIONS, SHORT
from toban.alerting.templating.parser import read
from toban.alerting.templating.syntax_tree import (
    Call,
    If,
    Literal,
    Operand,
    Part,
    Pipeline,
    Range,
    Taken,
    Variable,
    Words,
)
from toban.alerting.templating.values import Found, TemplateError, is_true, written
from toban.alerting.templating.values import field as taken

LONGEST: Final = 100_000
"""How long a rendered text may be."""

MOST_STEPS: Final = 10_000
"""How many parts may be rendered: a ``range`` in a ``range`` would go on for long."""


@dataclass(frozen=True, slots=True)
class External:
    """What templates may say of where they are rendered: the address of toban's pages, and labels of all its alerts."""

    url: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)


NOWHERE: Final = External()
"""Where nothing is known of that."""


class Wanted(Exception):  # noqa: N818  # no trouble: the text is rendered again when the answer is there
    """A template asks PromQL something whose answer is not there yet."""

    def __init__(self, query: str) -> None:
        super().__init__(query)
        self.query = query


@dataclass(frozen=True, slots=True)
class Template:
    """A text with actions in it. Raises ``TemplateError`` when it can't be read."""

    source: str
    parts: Sequence[Part] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", read(self.source) if "{{" in self.source else (Words(self.source),))

    def render(
        self,
        labels: Mapping[str, str],
        value: float,
        answers: Mapping[str, Sequence[Found]] | None = None,
        external: External = NOWHERE,
    ) -> str:
        """
        Return the text for an alert.

        ``answers`` holds what queries came to. Raises ``Wanted`` when one is missing, and ``TemplateError`` for
        anything that goes wrong.
        """
        given = {"labels": labels, "value": value, "externalLabels": external.labels, "externalURL": external.url}
        dot = {"Labels": labels, "Value": value, "ExternalLabels": external.labels, "ExternalURL": external.url}
        try:
            return _Rendering(answers or {}, given, dot).text(self.parts)
        except (TemplateError, Wanted):
            raise
        except Exception as error:  # a template is a text from a file: whatever it does, it costs its own text alone
            raise TemplateError(f"{type(error).__name__}: {error}") from error


class _Rendering:
    """One template being rendered."""

    def __init__(self, answers: Mapping[str, Sequence[Found]], given: Mapping[str, Any], dot: Any) -> None:
        self._answers = answers
        self._scopes: list[dict[str, Any]] = [{**given, ".": dot}]
        self._dot = dot
        self._steps = 0
        self._length = 0

    def text(self, parts: Sequence[Part]) -> str:
        """Return what some parts come to."""
        pieces = [self._part(part) for part in parts]
        return "".join(pieces)

    def _part(self, part: Part) -> str:
        self._steps += 1
        if self._steps > MOST_STEPS:
            raise TemplateError(f"more than {MOST_STEPS} steps")
        match part:
            case Words(text):
                return self._counted(text)
            case Pipeline():
                value = self._value(part)
                return "" if part.into else self._counted(written(value))
            case If():
                return self._if(part)
            case Range():
                return self._range(part)

    def _counted(self, text: str) -> str:
        self._length += len(text)
        if self._length > LONGEST:
            raise TemplateError(f"longer than {LONGEST} characters")
        return text

    def _if(self, part: If) -> str:
        with_value = self._value(part.condition)
        if not is_true(with_value):
            return self._inside(part.otherwise, self._dot)
        return self._inside(part.body, with_value if part.rebinds else self._dot)

    def _range(self, part: Range) -> str:
        over = self._value(part.over)
        if isinstance(over, str | int | float | None):
            raise TemplateError(f"range can't iterate over {written(over)}")
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
                return self._taken(value, fields)
            case Taken(of, fields):
                return self._taken(self._value(of), fields)
            case Call():
                return self._called(operand)
            case Pipeline(first, then, into, declares):
                value = self._value(first)
                for command in then:
                    value = self._called(command, value)
                if into:
                    scope = self._scopes[-1] if declares else next(it for it in self._scopes[::-1] if into in it)
                    scope[into] = value
                return value

    def _taken(self, value: Any, fields: Sequence[str]) -> Any:
        for name in fields:
            value = taken(value, name)
        return value

    def _called(self, call: Call, *given: Any) -> Any:
        if call.function in SHORT:
            return self._first_that_decides(call, *given)
        values = [*(self._value(argument) for argument in call.arguments), *given]
        if call.function in ABOUT:
            values.insert(0, self._scopes[0]["externalURL"])
        if call.function == "query":
            query = values[0]
            if not isinstance(query, str):
                raise TemplateError(f"query: {written(query)} is no text")
            if query not in self._answers:
                raise Wanted(query)
            return self._answers[query]
        value = FUNCTIONS[call.function].call(*values)
        if isinstance(value, str) and len(value) > LONGEST:
            raise TemplateError(f"longer than {LONGEST} characters")
        return value

    def _first_that_decides(self, call: Call, *given: Any) -> Any:
        """Evaluate ``and`` and ``or`` as Go does: no further than to the argument that decides."""
        value: Any = None
        for argument in call.arguments:
            value = self._value(argument)
            if is_true(value) is (call.function == "or"):
                return value
        return given[0] if given else value
