"""Reads the tokens of a query one after the other."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from toban.core.errors import BadQueryError
from toban.core.matchers import MAX_REGEX_COST, Matcher, MatchOperator, compile_regex, regex_cost
from toban.logs.logql.lexer import ParseError, Token, TokenKind, tokens

MAX_DEPTH: Final = 100
"""How deeply a query may be nested: the parser and the evaluator recurse."""


class TokenReader:
    """The tokens of a query, and its limits. All methods raise ``ParseError``."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._tokens = tokens(text)
        self._place = 0
        self._depth = 0
        self._regex_cost = 0

    @property
    def next(self) -> Token:
        """The next token, which is not read yet."""
        return self._tokens[self._place]

    @property
    def after_next(self) -> Token:
        """The token after the next one."""
        return self._tokens[min(self._place + 1, len(self._tokens) - 1)]

    def read(self) -> Token:
        """Read a token."""
        token = self._tokens[self._place]
        self._place = min(self._place + 1, len(self._tokens) - 1)
        return token

    def source(self, start: int, end: int) -> str:
        """Return a part of the query as it is written, without the space around it."""
        return self.text[start:end].strip()

    def is_next(self, *texts: str) -> bool:
        """Tell whether the next token is one of these words or operators."""
        return self.next.kind in {TokenKind.KEYWORD, TokenKind.OPERATOR} and self.next.text.lower() in texts

    def accept(self, *texts: str) -> bool:
        """Read the next token if it is one of these words or operators."""
        if found := self.is_next(*texts):
            self.read()
        return found

    def expect(self, text: str, expecting: str = "") -> None:
        """Read this operator."""
        if not self.accept(text):
            raise self.unexpected(expecting=expecting or text)

    def expect_kind(self, kind: TokenKind, expecting: str = "") -> Token:
        """Read a token of this kind."""
        if self.next.kind is not kind:
            raise self.unexpected(expecting=expecting or kind.value)
        return self.read()

    def name(self) -> str:
        """Read the name of a label."""
        return self.expect_kind(TokenKind.IDENTIFIER).text

    def string(self) -> str:
        """Read a string."""
        return self.expect_kind(TokenKind.STRING).text

    def unexpected(self, token: Token | None = None, *, expecting: str = "") -> ParseError:
        """Return the error for a token that can't stand where it does; the next one, unless another is given."""
        token = token or self.next
        expected = f", expecting {expecting}" if expecting else ""
        return ParseError(f"syntax error: unexpected {token}{expected}", self.text, token.start)

    def error(self, message: str, token: Token) -> ParseError:
        """Return an error at a token."""
        return ParseError(message, self.text, token.start)

    @contextmanager
    def nested(self) -> Iterator[None]:
        """Count a level of nesting."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self.error(f"nested more than {MAX_DEPTH} deep", self.next)
        yield
        self._depth -= 1

    def regex(self, pattern: str, token: Token) -> Any:
        """Compile a regular expression that matches anywhere."""
        self._count_regex(pattern, token)
        try:
            return compile_regex(pattern)
        except BadQueryError as error:
            raise self.error(str(error), token) from error

    def matcher(self, name: str, operator: MatchOperator, token: Token) -> Matcher:
        """Return a matcher with the text of a token as its value."""
        if operator in {MatchOperator.REGEX, MatchOperator.NOT_REGEX}:
            self._count_regex(token.text, token)
        try:
            return Matcher(name, operator, token.text)
        except BadQueryError as error:
            raise self.error(str(error), token) from error

    def _count_regex(self, pattern: str, token: Token) -> None:
        self._regex_cost += regex_cost(pattern)
        if self._regex_cost > MAX_REGEX_COST:
            raise self.error("the regular expressions are too large in total", token)
