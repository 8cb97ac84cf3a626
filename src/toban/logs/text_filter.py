"""What a filter over the text of lines matches."""

from collections.abc import Callable

import re2

from toban.core.log_line import LogLine
from toban.core.matchers import compile_regex
from toban.core.untyped_json import json_text
from toban.logs.line_store import TextFilter


def shown_text(line: LogLine) -> str:
    """Return a line as clients of Loki see it: its message, and its stack trace after a newline."""
    return f"{line.message}\n{line.trace}" if line.trace else line.message


def searched_text(line: LogLine) -> str:
    """Return what a filter is about: the message, the stack trace, and the facts as JSON, each on lines of its own."""
    shown = shown_text(line)
    return f"{shown}\n{json_text(dict(line.facts))}" if line.facts else shown


def compile_filter(text_filter: TextFilter) -> Callable[[str], bool]:
    """Return a function that tells whether a filter matches a text."""
    finds = [_finds(text, text_filter) for text in text_filter.texts]
    is_negated = text_filter.is_negated
    return lambda text: any(found(text) for found in finds) != is_negated


def expression(wanted: str, text_filter: TextFilter) -> str:
    """Return the expression (RE2) for one text of a filter."""
    pattern = wanted if text_filter.is_regex else re2.escape(wanted)
    return f"(?i){pattern}" if text_filter.ignore_case else pattern


def _finds(wanted: str, text_filter: TextFilter) -> Callable[[str], bool]:
    if not text_filter.is_regex and not text_filter.ignore_case:
        return lambda text: wanted in text
    regex = compile_regex(expression(wanted, text_filter))
    return lambda text: regex.search(text) is not None
