"""The parser of templates."""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from toban.alerting.templating.functions import FUNCTIONS
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
from toban.alerting.templating.values import TemplateError

VARIABLES: Final = frozenset({"labels", "value", "externalLabels", "externalURL"})
"""The variables of every template."""

_SPACE: Final = " \t\r\n"
# Linear in the length of the text: each piece is matched once, and one that is not closed ends the search.
_PIECE: Final = re.compile(r""""(?:\\.|[^"\\\n])*"|`[^`]*`|(?P<end>\}\})|.""", re.DOTALL)
_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<string>"(?:\\.|[^"\\\n])*"|`[^`]*`)|(?P<char>'(?:\\.[0-9a-fA-F]*|[^'\\\n])')"""
    r"""|(?P<number>[-+]?(?:0[xX][0-9a-fA-F_]*\.?[0-9a-fA-F_]*(?:[pP][-+]?[\d_]+)?|0[bBoO][\d_]+"""
    r"""|(?:\d[\d_]*(?:\.[\d_]*)?|\.\d[\d_]*)(?:[eE][-+]?[\d_]+)?))"""
    r"""|(?P<variable>\$\w*)|(?P<field>\.\w*)|(?P<word>[A-Za-z_]\w*)|(?P<sign>:=|[|(),=]))"""
)
_ESCAPE: Final = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|.)", re.DOTALL)
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}
_CONSTANTS: Final = {"true": True, "false": False, "nil": None}
_MAX_DEPTH: Final = 50


class _Token(NamedTuple):
    kind: str
    text: str
    spaced: bool
    """Whether white space is before it: ``(x).y`` accesses a field, ``x .y`` is a second argument."""


def parse_template(template: str) -> Sequence[Part]:
    """Parse a template. Raises ``TemplateError``."""
    return _Parser(template).parts()


def _split(template: str) -> list[tuple[str, str]]:
    """Split a template into plain text and actions, without the white space that ``{{-`` and ``-}}`` trim."""
    pieces: list[tuple[str, str]] = []
    at, trim = 0, False
    while (begin := template.find("{{", at)) >= 0:
        words = template[at:begin]
        inside = begin + 2
        if template[inside : inside + 1] == "-" and template[inside + 1 : inside + 2].isspace():
            inside += 1
            words = words.rstrip(_SPACE)
        end = _end(template, inside)
        action = template[inside:end]
        pieces.append(("text", words.lstrip(_SPACE) if trim else words))
        trim = action.endswith("-") and action[-2:-1].isspace()
        pieces.append(("action", action[:-1] if trim else action))
        at = end + 2
    rest = template[at:]
    return [*pieces, ("text", rest.lstrip(_SPACE) if trim else rest)]


def _end(template: str, inside: int) -> int:
    """Return the end of the action whose content begins at ``inside``; strings and comments are skipped."""
    body = re.compile(r"\s*").match(template, inside)
    start = body.end() if body else inside
    if template.startswith("/*", start):
        start = template.find("*/", start)
        if start < 0:
            raise TemplateError("unclosed comment")
    for piece in _PIECE.finditer(template, start):
        if piece["end"]:
            return piece.start()
    raise TemplateError("unclosed action: {{ without }}")


class _Parser:
    """Parses one template."""

    def __init__(self, template: str) -> None:
        self._pieces = _split(template)
        self._at = 0
        self._tokens: list[_Token] = []
        self._known: list[set[str]] = [set(VARIABLES)]
        self._depth = 0

    def parts(self) -> list[Part]:
        """Return the whole template."""
        parts, ended = self._body()
        if ended:
            raise TemplateError(f"unexpected {{{{{ended}}}}}")
        return parts

    def _body(self) -> tuple[list[Part], str]:
        """Return the parts up to ``else``, ``end`` or the end of the template, and which of them it was."""
        parts: list[Part] = []
        while self._at < len(self._pieces):
            sort, text = self._pieces[self._at]
            self._at += 1
            if sort == "text":
                if text:
                    parts.append(PlainText(text))
                continue
            if re.fullmatch(r"\s*/\*.*\*/\s*", text, re.DOTALL):
                continue
            self._tokens = _tokens(text)
            head = self._tokens[0].text if self._tokens and self._tokens[0].kind == "word" else ""
            if head in {"else", "end"}:
                self._tokens.pop(0)
                return parts, head
            if head in {"if", "with", "range"}:
                self._tokens.pop(0)
                parts.append(self._block(head))
            elif head in {"define", "template", "block", "break", "continue"}:
                raise TemplateError(f"{{{{{head}}}}} is not supported")
            else:
                parts.append(self._whole())
        return parts, ""

    def _block(self, head: str) -> Part:
        self._enter()
        self._known.append(set())
        index = element = ""
        if head == "range":
            index, element = self._loop_variables()
        condition = self._whole()
        body, ended = self._body()
        otherwise: list[Part] = []
        if ended == "else":
            if self._tokens and self._tokens[0].text == "if" and head == "if":
                self._tokens.pop(0)
                otherwise = [self._block("if")]
                ended = "end"
            else:
                self._empty()
                otherwise, ended = self._body()
        if ended != "end":
            raise TemplateError(f"{{{{{head}}}}} without {{{{end}}}}")
        self._known.pop()
        self._depth -= 1
        if head == "range":
            return Range(condition, index, element, body, otherwise)
        return If(condition, body, otherwise, rebinds=head == "with")

    def _loop_variables(self) -> tuple[str, str]:
        names: list[str] = []
        signs = [token.text for token in self._tokens]
        if ":=" not in signs:
            return "", ""
        while self._tokens[0].text != ":=":
            token = self._tokens.pop(0)
            if token.kind == "variable":
                names.append(token.text[1:])
            elif token.text != ",":
                raise TemplateError(f"range: unexpected {token.text}")
        self._tokens.pop(0)
        if not 1 <= len(names) <= 2:
            raise TemplateError("range: one or two variables are allowed before :=")
        self._known[-1].update(names)
        return ("", names[0]) if len(names) == 1 else (names[0], names[1])

    def _whole(self) -> Pipeline:
        """Parse the rest of this action as a pipeline."""
        pipeline = self._pipeline()
        self._empty()
        return pipeline

    def _empty(self) -> None:
        if self._tokens:
            raise TemplateError(f"unexpected {self._tokens[0].text}")

    def _pipeline(self) -> Pipeline:
        self._enter()
        into, declares = "", False
        if len(self._tokens) > 1 and self._tokens[0].kind == "variable" and self._tokens[1].text in {":=", "="}:
            into, declares = self._tokens[0].text[1:], self._tokens[1].text == ":="
            del self._tokens[:2]
            if not declares:
                self._variable(into)
        first = self._first()
        then = []
        while self._tokens and self._tokens[0].text == "|":
            self._tokens.pop(0)
            if not self._starts_call():
                raise TemplateError("non executable command in pipeline")
            then.append(self._call(self._tokens.pop(0).text, given=True))
        if declares:
            self._known[-1].add(into)
        self._depth -= 1
        return Pipeline(first, tuple(then), into, declares)

    def _starts_call(self) -> bool:
        return bool(self._tokens) and self._tokens[0].kind == "word" and self._tokens[0].text not in _CONSTANTS

    def _first(self) -> Operand:
        if not self._tokens or self._tokens[0].text in {"|", ")"}:
            raise TemplateError("missing value for command")
        if self._starts_call():
            return self._call(self._tokens.pop(0).text, given=False)
        token = self._tokens[0]
        operand = self._operand()
        if self._tokens and self._tokens[0].text not in {"|", ")"}:
            raise TemplateError(f"can't give argument to non-function {token.text}")
        return operand

    def _call(self, name: str, *, given: bool) -> Call:
        arguments = []
        while self._tokens and self._tokens[0].text not in {"|", ")"}:
            arguments.append(self._operand())
        function = FUNCTIONS.get(name)
        if name in VARIABLES - FUNCTIONS.keys() or (name == "value" and not arguments and not given):
            raise TemplateError(f"unknown function {name!r}: write ${name}")
        if function is None:
            raise TemplateError(f"function {name!r} is not supported; supported are {', '.join(sorted(FUNCTIONS))}")
        count = len(arguments) + given
        if not function.min_arguments <= count <= function.max_arguments:
            raise TemplateError(f"wrong number of args for {name}: want at least {function.min_arguments} got {count}")
        return Call(name, tuple(arguments))

    def _operand(self) -> Operand:
        token = self._tokens.pop(0)
        if token.kind == "string":
            return Literal(_unquoted(token.text))
        if token.kind == "number":
            return Literal(_number(token.text))
        if token.kind == "char":
            return Literal(_char(token.text))
        if token.kind == "variable":
            return Variable(self._variable(token.text[1:]), self._fields())
        if token.kind == "field":
            first = (token.text[1:],) if token.text != "." else ()
            return Variable("", first + self._fields())
        if token.text == "(":
            inside = self._pipeline()
            if not self._tokens or self._tokens.pop(0).text != ")":
                raise TemplateError("unclosed left paren")
            fields = self._fields()
            return FieldAccess(inside, fields) if fields else inside
        if token.kind == "word":
            return Literal(_CONSTANTS[token.text]) if token.text in _CONSTANTS else self._nested_call(token.text)
        raise TemplateError(f"unexpected {token.text} in operand")

    def _nested_call(self, name: str) -> Operand:
        """Parse a function name that is an argument: a call without arguments."""
        here, self._tokens = self._tokens, []
        call = self._call(name, given=False)
        self._tokens = here
        return call

    def _fields(self) -> tuple[str, ...]:
        fields = []
        while self._tokens and self._tokens[0].kind == "field" and not self._tokens[0].spaced:
            fields.append(self._tokens.pop(0).text[1:])
        if "" in fields:
            raise TemplateError("missing field name after a dot")
        return tuple(fields)

    def _variable(self, name: str) -> str:
        if name and not any(name in known for known in self._known):
            raise TemplateError(f"undefined variable ${name}")
        return name or "."

    def _enter(self) -> None:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise TemplateError(f"nested more than {_MAX_DEPTH} deep")


def _index(tokens: list[_Token], rest: str) -> str:
    """Return the remedy for a label whose name is not a Go identifier: `$labels.foo-bar`."""
    before, more = tokens[-1:], re.match(r"\S+", rest)
    if before and before[0].kind == "field" and more and before[0].text != ".":
        return f': write index $labels "{before[0].text[1:]}{more[0]}"'
    return ""


def _tokens(text: str) -> list[_Token]:
    tokens, at = [], 0
    while (found := _TOKEN.match(text, at)) and found.lastgroup:
        tokens.append(_Token(found.lastgroup, found[found.lastgroup], found.start(found.lastgroup) > at))
        at = found.end()
    if rest := text[at:].strip():
        raise TemplateError(f"unexpected {rest[:20]!r} in action{_index(tokens, rest)}")
    if not tokens:
        raise TemplateError("missing value for command")
    return tokens


def _number(text: str) -> int | float:
    """Parse a number as Go's templates do: with prefixes of bases and underscores, as an integer or a float."""
    body = text.lstrip("-+").lower()
    try:
        if body.startswith("0x") and set(body) & set(".p"):
            return float.fromhex(text.replace("_", ""))
        if not body.startswith("0x") and set(body) & set(".e"):
            return float(text.replace("_", ""))
        if re.fullmatch(r"0[0-7_]+", body):
            return int(body.replace("_", ""), 8) * (-1 if text[0] == "-" else 1)
        return int(text, 10 if re.fullmatch(r"\d+", body) else 0)
    except (ValueError, OverflowError) as error:
        raise TemplateError(f"bad number syntax: {text!r}") from error


def _char(text: str) -> int:
    """Parse a character constant: its code point, as in Go."""
    char = _unquoted(f'"{text[1:-1]}"' if text[1:-1] != '"' else r'"\""')
    if len(char) != 1:
        raise TemplateError(f"malformed character constant: {text}")
    return ord(char)


def _unquoted(text: str) -> str:
    if text[0] == "`":
        return text[1:-1]

    def one(found: re.Match[str]) -> str:
        sign = found[1]
        if len(sign) > 1:
            return chr(min(int(sign[1:], 16), 0x10FFFF))
        if sign not in _ESCAPES:
            raise TemplateError(f"unknown escape \\{sign} in {text}")
        return _ESCAPES[sign]

    return _ESCAPE.sub(one, text[1:-1])
