"""Many filters over the text of lines, searched for at once."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import re2

from toban.core.matchers import MAX_REGEX_COST, regex_cost
from toban.logs.line_store import TextFilter
from toban.logs.text_filter import expression

MAX_COST: Final = MAX_REGEX_COST // 2
"""The highest cost of the expressions of one automaton; more of them are several automata."""


@dataclass(frozen=True, slots=True)
class CompiledFilter:
    """The numbers of a filter's expressions within its set."""

    numbers: frozenset[int]
    is_negated: bool

    def matches(self, found: set[int]) -> bool:
        """Tell whether the filter matches the text in which these expressions were found."""
        return self.numbers.isdisjoint(found) == self.is_negated


class FilterSet:
    """
    Filters that are held against each text: one pass over it finds all expressions that match.

    A pass takes as long as the search for a single expression.
    """

    def __init__(self, filters: Iterable[TextFilter]) -> None:
        self._numbers: dict[str, int] = {}
        self._automata: list[tuple[Any, int]] = []
        expressions = dict.fromkeys(expression(text, it) for it in filters for text in it.texts)
        part: list[str] = []
        cost = 0
        for pattern in expressions:
            if part and cost + regex_cost(pattern) > MAX_COST:
                self._add(part)
                part, cost = [], 0
            part.append(pattern)
            cost += regex_cost(pattern)
        if part:
            self._add(part)

    def found_in(self, text: str) -> set[int]:
        """Return the numbers of the expressions that match a text."""
        data = text.encode("utf-8", "replace")
        found: set[int] = set()
        for automaton, first in self._automata:
            if numbers := automaton.Match(data):
                found.update(number + first for number in numbers)
        return found

    def compiled(self, text_filter: TextFilter) -> CompiledFilter:
        """Return a filter of the set, as ``found_in`` answers it."""
        numbers = (self._numbers[expression(text, text_filter)] for text in text_filter.texts)
        return CompiledFilter(frozenset(numbers), text_filter.is_negated)

    def _add(self, patterns: list[str]) -> None:
        options = re2.Options()
        # RE2 would write errors to standard error itself.
        options.log_errors = False
        options.dot_nl = True
        automaton, first = re2.Set.SearchSet(options), len(self._numbers)
        for pattern in patterns:
            automaton.Add(pattern)
            self._numbers[pattern] = len(self._numbers)
        automaton.Compile()
        self._automata.append((automaton, first))
