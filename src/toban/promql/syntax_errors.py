"""Locates syntax errors: the parser's messages have no positions, and say nothing about a wrong order of tokens."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from toban.core.labels import quote
from toban.promql.lexer import GROUPING, Token, TokenKind

INVALID: Final = "invalid promql query"
"""The parser's message for tokens in a wrong order."""

MAX_CALLS: Final = 50
"""How count calls are parsed again, each by itself, to find the invalid one."""

_ARITHMETIC: Final = frozenset("+-*/%^<>") | {"==", "!=", "<=", ">="}
_MATCHED: Final = frozenset({"=", "!=", "=~", "!~"})
_TYPES: Final = {"matrix": "range vector", "vector": "instant vector"}

ErrorOf = Callable[[str], str]
"""Returns the parser's error for a text; an empty string if it is valid."""


def describe_error(message: str) -> str:
    """Return the parser's message in Prometheus' wording."""
    message = re.sub(r"\b(type|got) (matrix|vector)\b", lambda it: f"{it[1]} {_TYPES[it[2]]}", message)
    return re.sub(r"'([^']*)'", r'"\1"', message)


def locate_error(found: Sequence[Token], message: str, error_of: ErrorOf) -> tuple[int, str]:
    """Return the offset of an error, and its message."""
    text = "".join(token.text for token in found)
    significant = [token for token in found if token.kind not in {TokenKind.SPACE, TokenKind.COMMENT}]
    if message == INVALID:
        unexpected = _TokenOrder(significant).unexpected()
        if unexpected is not None:
            return unexpected.start, f"unexpected {_shown(unexpected)}"
        return len(text.rstrip()), "unexpected end of input"
    if "end of input" in message:
        return len(text.rstrip()), describe_error(message)
    if (wrong := _erroneous(significant, text, message, error_of)) is not None:
        return wrong.start, describe_error(message)
    return (significant[0].start if significant else 0), describe_error(message)


def _shown(token: Token) -> str:
    if token.kind is TokenKind.OPERATOR and token.text in _ARITHMETIC:
        return f"<op:{token.text}>"
    if token.kind in {TokenKind.OPERATOR, TokenKind.COLON, TokenKind.OTHER}:
        return quote(token.text)
    return f"<op:{token.text}>" if token.is_set_operator else f"{token.kind} {quote(token.text[:50])}"


def _erroneous(found: Sequence[Token], text: str, message: str, error_of: ErrorOf) -> Token | None:
    """Return the first token that causes the same error by itself, or with the call that it begins."""
    if "character" in message:
        return next((token for token in found if token.kind is TokenKind.OTHER), None)
    for token in found:
        if token.kind in {TokenKind.STRING, TokenKind.NUMBER} and error_of(token.text) == message:
            return token
    if (bracket := re.search(r"(?:unexpected right|unclosed left) (brace|bracket|parenthesis)", message)) is not None:
        return _unbalanced(found, {"brace": "{}", "bracket": "[]", "parenthesis": "()"}[bracket[1]])
    for begin, end in _calls(found):
        if error_of(text[begin.start : end.end]) == message:
            return begin
    if (pattern := re.fullmatch(r"illegal regex for (.+)", message, re.DOTALL)) is not None:
        return next(
            (token for token in found if token.kind is TokenKind.STRING and token.text[1:-1] == pattern[1]), None
        )
    quoted = re.search(r"'([^']+)'", message)
    return next((token for token in found if quoted and token.text.lower() == quoted[1]), None)


def _unbalanced(found: Sequence[Token], pair: str) -> Token | None:
    opened: list[Token] = []
    for token in found:
        if token.text == pair[0]:
            opened.append(token)
        elif token.text == pair[1]:
            if not opened:
                return token
            opened.pop()
    return opened[-1] if opened else None


def _calls(found: Sequence[Token]) -> Iterator[tuple[Token, Token]]:
    """Return the first and last tokens of calls, inner ones first."""
    opened: list[Token] = []
    count = 0
    for place, token in enumerate(found):
        if token.text == "(":
            before = found[place - 1] if place else token
            opened.append(before if before.kind is TokenKind.WORD else token)
        elif token.text == ")" and opened and count < MAX_CALLS:
            count += 1
            yield opened.pop(), token


class _TokenOrder:
    """Follows the grammar to the first token that is not allowed at its position."""

    def __init__(self, found: Sequence[Token]) -> None:
        self._found = found
        self._at = 0
        self._open: list[str] = []

    def unexpected(self) -> Token | None:
        """Return the first token that is not allowed; None where only the end is missing."""
        operand = True
        while (token := self._token()) is not None:
            step = self._operand(token) if operand else self._after(token)
            if step is None:
                return self._token()
            operand = step
        return None

    def _token(self, ahead: int = 0) -> Token | None:
        place = self._at + ahead
        return self._found[place] if place < len(self._found) else None

    def _text(self, ahead: int = 0) -> str:
        token = self._token(ahead)
        return token.text.lower() if token else ""

    def _operand(self, token: Token) -> bool | None:
        """Consume the beginning of an operand; return whether an operand must follow, None if not allowed."""
        if token.text in {"+", "-"}:
            self._at += 1
            return True
        if token.text == "(":
            self._open.append("(")
            self._at += 1
            return True
        if token.text == "{":
            return False if self._braces() else None
        if token.kind in {TokenKind.STRING, TokenKind.NUMBER}:
            self._at += 1
            return False
        if token.kind is not TokenKind.WORD or token.is_set_operator:
            return None
        self._at += 1
        if self._text() in {"by", "without"} and not self._grouping():
            return None
        if self._text() == "(":
            self._at += 1
            if self._text() == ")":
                self._at += 1
                return False
            self._open.append("call")
            return True
        if self._text() == "{":
            return False if self._braces() else None
        return False

    def _after(self, token: Token) -> bool | None:
        """Consume what may follow an operand. Otherwise like ``_operand``."""
        if token.text in _ARITHMETIC or token.is_set_operator:
            self._at += 1
            if self._text() == "bool":
                self._at += 1
            while self._text() in GROUPING:
                if not self._grouping():
                    return None
            return True
        if token.text == ")" and self._open:
            self._open.pop()
        elif token.text == "," and self._open[-1:] == ["call"]:
            self._at += 1
            return True
        elif token.text == "[":
            return False if self._until("]") else None
        elif token.text.lower() in {"by", "without"}:
            return False if self._grouping() else None
        elif token.text.lower() == "offset" or token.text == "@":
            return False if self._time_modifier() else None
        else:
            return None
        self._at += 1
        return False

    def _grouping(self) -> bool:
        """Consume a grouping word and its labels in parentheses: optional for ``group_left`` and ``group_right``."""
        optional = self._text().startswith("group_")
        self._at += 1
        if self._text() != "(":
            return optional
        self._at += 1
        while self._text() != ")":
            token = self._token()
            if token is None or token.kind not in {TokenKind.WORD, TokenKind.STRING}:
                return False
            self._at += 1
            if self._text() == ",":
                self._at += 1
            elif self._text() != ")":
                return False
        self._at += 1
        return True

    def _braces(self) -> bool:
        """Consume matchers."""
        self._at += 1
        while self._text() != "}":
            token = self._token()
            if token is None or token.kind not in {TokenKind.WORD, TokenKind.STRING}:
                return False
            self._at += 1
            if self._text() in _MATCHED:
                self._at += 1
                value = self._token()
                if value is None or value.kind is not TokenKind.STRING:
                    return False
                self._at += 1
            elif token.kind is TokenKind.WORD:
                return False
            if self._text() == ",":
                self._at += 1
            elif self._text() != "}":
                return False
        self._at += 1
        return True

    def _until(self, closing: str) -> bool:
        while (token := self._token()) is not None:
            self._at += 1
            if token.text == closing:
                return True
        return False

    def _time_modifier(self) -> bool:
        """Consume an offset or a time."""
        self._at += 1
        if self._text() in {"+", "-"}:
            self._at += 1
        if self._text() in {"start", "end"} and self._text(1) == "(" and self._text(2) == ")":
            self._at += 3
            return True
        token = self._token()
        if token is None or token.kind is not TokenKind.NUMBER:
            return False
        self._at += 1
        return True
