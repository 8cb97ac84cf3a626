"""Where in a query a mistake is, and what stands there: the parser tells neither of a wrong order of tokens."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from toban.core.labels import quote
from toban.promql.lexer import Token, TokenKind

INVALID: Final = "invalid promql query"
"""What the parser says of tokens in a wrong order."""

MOST: Final = 50
"""How many calls are parsed once more, each by itself, to find the one that is wrong."""

_GROUPING: Final = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
_ARITHMETIC: Final = frozenset("+-*/%^<>") | {"==", "!=", "<=", ">="}
_MATCHED: Final = frozenset({"=", "!=", "=~", "!~"})
_TYPES: Final = {"matrix": "range vector", "vector": "instant vector"}

Refusal = Callable[[str], str]
"""What the parser says to a text; nothing when it takes it."""


def describe_error(message: str) -> str:
    """Return what the parser says in Prometheus' words."""
    message = re.sub(r"\b(type|got) (matrix|vector)\b", lambda it: f"{it[1]} {_TYPES[it[2]]}", message)
    return re.sub(r"'([^']*)'", r'"\1"', message)


def locate_error(found: Sequence[Token], message: str, refusal: Refusal) -> tuple[int, str]:
    """Return the offset of a mistake, and the message for it."""
    text = "".join(token.text for token in found)
    significant = [token for token in found if token.kind not in {TokenKind.SPACE, TokenKind.COMMENT}]
    if message == INVALID:
        unexpected = _Order(significant).unexpected()
        if unexpected is not None:
            return unexpected.start, f"unexpected {_shown(unexpected)}"
        return len(text.rstrip()), "unexpected end of input"
    if "end of input" in message:
        return len(text.rstrip()), describe_error(message)
    if (wrong := _wrong(significant, text, message, refusal)) is not None:
        return wrong.start, describe_error(message)
    return (significant[0].start if significant else 0), describe_error(message)


def _shown(token: Token) -> str:
    if token.kind is TokenKind.OPERATOR and token.text in _ARITHMETIC:
        return f"<op:{token.text}>"
    if token.kind in {TokenKind.OPERATOR, TokenKind.COLON, TokenKind.OTHER}:
        return quote(token.text)
    return f"<op:{token.text}>" if token.is_set_operator else f"{token.kind} {quote(token.text[:50])}"


def _wrong(found: Sequence[Token], text: str, message: str, refusal: Refusal) -> Token | None:
    """Return the first token that is refused by itself in the same words, or with the call that it begins."""
    if "character" in message:
        return next((token for token in found if token.kind is TokenKind.OTHER), None)
    for token in found:
        if token.kind in {TokenKind.STRING, TokenKind.NUMBER} and refusal(token.text) == message:
            return token
    if (bracket := re.search(r"(?:unexpected right|unclosed left) (brace|bracket|parenthesis)", message)) is not None:
        return _unbalanced(found, {"brace": "{}", "bracket": "[]", "parenthesis": "()"}[bracket[1]])
    for begin, end in _calls(found):
        if refusal(text[begin.start : end.end]) == message:
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
    """Return the first and last tokens of calls, inner ones before those they stand in."""
    opened: list[Token] = []
    many = 0
    for place, token in enumerate(found):
        if token.text == "(":
            before = found[place - 1] if place else token
            opened.append(before if before.kind is TokenKind.WORD else token)
        elif token.text == ")" and opened and many < MOST:
            many += 1
            yield opened.pop(), token


class _Order:
    """Goes through tokens as the grammar does, to the first that can't stand where it stands."""

    def __init__(self, found: Sequence[Token]) -> None:
        self._found = found
        self._at = 0
        self._open: list[str] = []

    def unexpected(self) -> Token | None:
        """Return the first token that is out of order; nothing where only the end is missing."""
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
        """Take what may begin an operand; tell whether one is wanted still, nothing when the token is none."""
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
        """Take what may follow an operand. Otherwise like ``_operand``."""
        if token.text in _ARITHMETIC or token.is_set_operator:
            self._at += 1
            if self._text() == "bool":
                self._at += 1
            while self._text() in _GROUPING:
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
            return False if self._moved() else None
        else:
            return None
        self._at += 1
        return False

    def _grouping(self) -> bool:
        """Take a word and the labels in brackets behind it, which two of the words may go without."""
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
        """Take matchers."""
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

    def _moved(self) -> bool:
        """Take an offset or a time."""
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
