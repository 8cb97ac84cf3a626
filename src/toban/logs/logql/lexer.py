"""The lexer of LogQL."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from toban.core.errors import BadQueryError

MAX_LENGTH: Final = 20_000
"""How many characters a query may have: it is parsed on the event loop."""


class TokenKind(StrEnum):
    """The kind of a token, as Loki's errors name it."""

    END = "$end"
    STRING = "STRING"
    NUMBER = "NUMBER"
    DURATION = "DURATION"
    BYTES = "BYTES"
    RANGE = "RANGE"
    IDENTIFIER = "IDENTIFIER"
    KEYWORD = "keyword"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Token:
    """A token: its text (of a string, what it says; of a range, what is between the brackets), and its offset."""

    kind: TokenKind
    text: str
    start: int

    def __str__(self) -> str:
        """Return the token as Loki's errors name it."""
        return self.text if self.kind in {TokenKind.KEYWORD, TokenKind.OPERATOR} else self.kind.value


class ParseError(BadQueryError):
    """The text is not a valid query; the message is that of Loki, with line and column where it has a position."""

    def __init__(self, message: str, text: str = "", offset: int | None = None) -> None:
        if offset is None:
            super().__init__(f"parse error : {message}")
            return
        line = text.count("\n", 0, offset) + 1
        column = offset - (text.rfind("\n", 0, offset) + 1) + 1
        super().__init__(f"parse error at line {line}, col {column}: {message}")


KEYWORDS: Final = frozenset(
    {
        "by", "without", "bool", "offset", "on", "ignoring", "group_left", "group_right",
        "and", "or", "unless", "unwrap",
        "json", "logfmt", "pattern", "regexp", "unpack", "decolorize",
        "line_format", "label_format", "drop", "keep",
    }
)  # fmt: skip  # one row for each part of the grammar
"""Words that are no names of labels."""

# No alternative can match the same text in two ways, so this is linear in the length of the text.
_TOKEN: Final = re.compile(
    r"(?P<SPACE>\s+|\#[^\n]*)"
    r'|(?P<STRING>"(?:\\.|[^"\\\n])*"|`[^`]*`)'
    r"|(?P<RANGE>\[[^\]]*\])"
    r"|(?P<DURATION>(?:[0-9]++(?:\.[0-9]++)?+(?:ns|us|µs|ms|[smhdwy]))++(?![a-zA-Z0-9_.]))"
    r"|(?P<BYTES>[0-9]+(?:\.[0-9]+)?(?:[kKMGTP]i?)?B(?![a-zA-Z0-9_.]))"
    r"|(?P<NUMBER>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?(?![a-zA-Z0-9_.]))"
    r"|(?P<IDENTIFIER>[a-zA-Z_:][a-zA-Z0-9_:]*)"
    r"|(?P<OPERATOR>--[a-z-]+|\|=|\|~|\|>|=~|!~|!=|!>|==|>=|<=|[-+*/%^<>=|,.(){}])"
    r"|(?P<OTHER>[0-9][a-zA-Z0-9_.]*+|.)",
    re.DOTALL,
)
_ESCAPES: Final = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "\\": "\\", '"': '"',
}  # fmt: skip  # the table of the Go specification
_ESCAPE: Final = re.compile(
    r"\\(?:x(?P<x>[0-9a-fA-F]{2})|u(?P<u>[0-9a-fA-F]{4})|U(?P<U>[0-9a-fA-F]{8})|(?P<o>[0-7]{3})|(?P<c>.)|$)", re.DOTALL
)


def tokens(text: str) -> list[Token]:
    """Split a query into tokens, with one for its end. Raises ``ParseError``."""
    if len(text) > MAX_LENGTH:
        raise ParseError(f"max query length exceeded: {len(text)} > {MAX_LENGTH}")
    return [*_tokens(text), Token(TokenKind.END, "", len(text))]


def _tokens(text: str) -> Iterator[Token]:
    for match in _TOKEN.finditer(text):
        kind, found, start = match.lastgroup, match[0], match.start()
        if kind == "STRING":
            yield Token(TokenKind.STRING, _unquoted(found, text, start), start)
        elif kind == "RANGE":
            yield Token(TokenKind.RANGE, found[1:-1], start)
        elif kind == "IDENTIFIER":
            is_keyword = found.lower() in KEYWORDS
            yield Token(TokenKind.KEYWORD if is_keyword else TokenKind.IDENTIFIER, found, start)
        elif kind == "OTHER":
            if found in {'"', "`"}:
                raise ParseError("literal not terminated", text, start)
            if found == "[":
                raise ParseError("missing closing ']' in duration", text, start)
            yield Token(TokenKind.IDENTIFIER, found, start)
        elif kind != "SPACE":
            yield Token(TokenKind[kind or "OPERATOR"], found, start)


def _unquoted(literal: str, text: str, start: int) -> str:
    """Return what a string of Go says."""
    if literal[0] == "`":
        return literal[1:-1]

    def character(found: re.Match[str]) -> str:
        if code := found["x"] or found["u"] or found["U"]:
            return _character(int(code, 16))
        if found["o"]:
            return _character(int(found["o"], 8))
        return _ESCAPES[found["c"]]

    try:
        return _ESCAPE.sub(character, literal[1:-1])
    except (KeyError, ValueError):
        raise ParseError("invalid char escape", text, start) from None


def _character(code: int) -> str:
    """Return a character. Raises ``ValueError`` for half of a surrogate pair, and beyond Unicode."""
    if 0xD800 <= code <= 0xDFFF:
        raise ValueError(code)
    return chr(code)
