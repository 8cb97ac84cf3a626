"""Tokens of a query: what the parser is spared, and where in the text a mistake is."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from toban.core.matchers import MAX_COST, regex_cost

MAX_LENGTH: Final = 100_000
"""How many characters a query may have."""

MAX_OPERATIONS: Final = 500
"""How many operators and opening brackets a query may have: the parser recurses, and its stack holds some thousand."""

SET_OPERATORS: Final = frozenset({"and", "or", "unless", "atan2"})
"""Words that stand between two operands."""


class TokenKind(StrEnum):
    """What a token is."""

    SPACE = "space"
    COMMENT = "comment"
    STRING = "string"
    NUMBER = "number"
    WORD = "identifier"
    OPERATOR = "op"
    COLON = "colon"
    OTHER = "character"


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the text, and the offset in characters at which it begins."""

    kind: TokenKind
    text: str
    start: int

    @property
    def end(self) -> int:
        """The offset behind it."""
        return self.start + len(self.text)

    @property
    def is_set_operator(self) -> bool:
        """Whether it is one of the operators that are written as words."""
        return self.kind is TokenKind.WORD and self.text.lower() in SET_OPERATORS


# No alternative can match the same text in two ways, so this is linear in the length of the text. A comment ends at
# a carriage return too, as in Prometheus' lexer (promql/parser/lex.go, isEndOfLine).
_TOKEN: Final = re.compile(
    r"(?P<SPACE>[ \t\r\n]+)"
    r"|(?P<COMMENT>\#[^\r\n]*)"
    r"""|(?P<STRING>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|`[^`]*`)"""
    r"|(?P<NUMBER>(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)[eE][-+][0-9]+|\.?[0-9][0-9a-zA-Z_.]*)"
    r"|(?P<COLON>:(?=[0-9\s\]]))"
    r"|(?P<WORD>[a-zA-Z_:][a-zA-Z0-9_:]*)"
    r"|(?P<OPERATOR>==|!=|<=|>=|=~|!~|[-+*/%^<>=@,(){}\[\]])"
    r"|(?P<OTHER>.)",
    re.DOTALL,
)
_DIGITS: Final = re.compile(r"(?:0[xX]_?[0-9a-fA-F]+(?:_[0-9a-fA-F]+)*|[0-9]+(?:_[0-9]+)*)(?![0-9_])")
_COUNTED: Final = frozenset("-+*/%^<>([") | {"<=", ">="}
_COMPARED: Final = frozenset({"==", "!="})
_QUOTES: Final = frozenset("\"'`")


class LexerError(ValueError):
    """The text can't be cut into tokens, or into too many; ``offset`` is where, in characters."""

    def __init__(self, message: str, offset: int | None = None) -> None:
        super().__init__(message)
        self.offset = offset


def tokens(text: str) -> list[Token]:
    """
    Cut a query into tokens, white space and comments among them.

    Raises ``LexerError`` where a string is not closed, and where there is more than the parser may be given.
    """
    if len(text) > MAX_LENGTH:
        raise LexerError(f"longer than {MAX_LENGTH:,} characters")
    found = list(_cut(text))
    if _operations(found) > MAX_OPERATIONS:
        raise LexerError(f"more than {MAX_OPERATIONS} operators and brackets")
    if sum(map(regex_cost, _expressions(found))) > MAX_COST:
        raise LexerError("the regular expressions are too large together")
    return found


def _expressions(found: Sequence[Token]) -> Iterator[str]:
    """Return the texts that matchers compare with as regular expressions."""
    compared = False
    for token in found:
        if token.kind is TokenKind.STRING and compared:
            yield token.text[1:-1]
        if token.kind not in {TokenKind.SPACE, TokenKind.COMMENT}:
            compared = token.text in {"=~", "!~"}


def _cut(text: str) -> Iterator[Token]:
    for match in _TOKEN.finditer(text):
        kind = TokenKind[match.lastgroup or "OTHER"]
        if kind is TokenKind.OTHER and match[0] in _QUOTES:
            raise LexerError("unterminated quoted string", match.start())
        yield Token(kind, match[0], match.start())


def _operations(found: Sequence[Token]) -> int:
    """Count what the parser may recurse at. Between braces a comparison is a matcher's, and flat."""
    many, inside = 0, False
    for token in found:
        if token.text in {"{", "}"}:
            inside = token.text == "{"
        elif token.kind is TokenKind.OPERATOR:
            many += token.text in _COUNTED or (token.text in _COMPARED and not inside)
        else:
            many += token.is_set_operator
    return many


def plain(found: Sequence[Token]) -> str:
    """
    Return the text as the parser is given it, each token at its place as long as no number has underscores.

    Comments are blanks: what ends one is decided here alone. Underscores that make a long number easier to read, like
    ``1_000_000``, are taken out: the parser does not know them.
    """
    return "".join(_plain(token) for token in found)


def _plain(token: Token) -> str:
    if token.kind is TokenKind.COMMENT:
        return " " * len(token.text)
    if token.kind is TokenKind.NUMBER and "_" in token.text:
        return _DIGITS.sub(lambda digits: digits[0].replace("_", ""), token.text)
    return token.text


def line_and_column(text: str, offset: int) -> str:
    """Return where a character stands, as Prometheus tells it: line and column, counted from 1."""
    before = text[:offset]
    return f"{before.count(chr(10)) + 1}:{offset - (before.rfind(chr(10)) + 1) + 1}"
