"""The lexer: limits what is passed to the parser, and locates errors in the text."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from toban.core.matchers import MAX_REGEX_COST, regex_cost

MAX_LENGTH: Final = 100_000
"""How many characters a query may have."""

MAX_OPERATIONS: Final = 500
"""How many operators and opening brackets a query may have: the parser recurses, and its stack is limited."""

SET_OPERATORS: Final = frozenset({"and", "or", "unless", "atan2"})
"""Binary operators that are written as words."""

GROUPING: Final = frozenset({"by", "without", "on", "ignoring", "group_left", "group_right"})
"""What stands before labels in parentheses."""

KEYWORDS: Final = SET_OPERATORS | GROUPING | {"bool", "offset"}


class TokenKind(StrEnum):
    """The kind of a token."""

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
    """A token, and the offset in characters at which it begins."""

    kind: TokenKind
    text: str
    start: int

    @property
    def end(self) -> int:
        """The offset after it."""
        return self.start + len(self.text)

    @property
    def is_set_operator(self) -> bool:
        """Whether it is a binary operator that is written as a word."""
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
    """The text has an invalid token, or exceeds a limit; ``offset`` is where, in characters."""

    def __init__(self, message: str, offset: int | None = None) -> None:
        super().__init__(message)
        self.offset = offset


def tokens(text: str) -> list[Token]:
    """
    Split a query into tokens, including white space and comments.

    Raises ``LexerError`` for a string that is not closed, and for a query that exceeds the limits of the parser.
    """
    if len(text) > MAX_LENGTH:
        raise LexerError(f"longer than {MAX_LENGTH:,} characters")
    found = list(_split(text))
    if _operations(found) > MAX_OPERATIONS:
        raise LexerError(f"more than {MAX_OPERATIONS} operators and brackets")
    if sum(map(regex_cost, _regular_expressions(found))) > MAX_REGEX_COST:
        raise LexerError("the regular expressions are too large in total")
    return found


def _regular_expressions(found: Sequence[Token]) -> Iterator[str]:
    """Return the regular expressions of all matchers."""
    is_pattern = False
    for token in found:
        if token.kind is TokenKind.STRING and is_pattern:
            yield token.text[1:-1]
        if token.kind not in {TokenKind.SPACE, TokenKind.COMMENT}:
            is_pattern = token.text in {"=~", "!~"}


def _split(text: str) -> Iterator[Token]:
    for match in _TOKEN.finditer(text):
        kind = TokenKind[match.lastgroup or "OTHER"]
        if kind is TokenKind.OTHER and match[0] in _QUOTES:
            raise LexerError("unterminated quoted string", match.start())
        yield Token(kind, match[0], match.start())


def _operations(found: Sequence[Token]) -> int:
    """Count the tokens at which the parser may recurse. Between braces a comparison belongs to a matcher."""
    count, in_matchers = 0, False
    for token in found:
        if token.text in {"{", "}"}:
            in_matchers = token.text == "{"
        elif token.kind is TokenKind.OPERATOR:
            count += token.text in _COUNTED or (token.text in _COMPARED and not in_matchers)
        else:
            count += token.is_set_operator
    return count


def parser_input(found: Sequence[Token]) -> str:
    """
    Return the text for the parser, with each token at its offset unless a number has underscores.

    Comments become blanks, so that only this lexer decides where one ends. Underscores in numbers, like
    ``1_000_000``, are removed: the parser does not accept them.
    """
    return "".join(_parser_input(token) for token in found)


def _parser_input(token: Token) -> str:
    if token.kind is TokenKind.COMMENT:
        return " " * len(token.text)
    if token.kind is TokenKind.NUMBER and "_" in token.text:
        return _DIGITS.sub(lambda digits: digits[0].replace("_", ""), token.text)
    return token.text


def line_and_column(text: str, offset: int) -> str:
    """Return the position of a character as Prometheus writes it: line and column, counted from 1."""
    before = text[:offset]
    return f"{before.count(chr(10)) + 1}:{offset - (before.rfind(chr(10)) + 1) + 1}"
