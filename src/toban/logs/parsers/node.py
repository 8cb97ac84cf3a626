"""The format `node`: what Node.js and its libraries write on stderr by themselves."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Final, Literal

from toban.core.log_line import LogLevel
from toban.logs.line_parser import ERROR_HEAD, STACK_LINE, LineParser, ParsedLine, Reading, is_indented

CONTEXT: Final = "node"

THROW_SITE: Final = re.compile(r"(?:/|file://|node:|[A-Z]:\\)[^:]{1,1000}(?::\d{1,7}){1,2}")
"""The place where an exception was thrown; then come a line of the source, and a caret below it."""
CARET: Final = re.compile(r"\s*\^+")
VERSION: Final = re.compile(r"Node\.js v\d")
"""The last line of a crash."""
MESSAGE_LINES: Final = 50
"""Lines of a crash in which its stack trace begins."""

HEAP: Final = ("<--- ", "FATAL ERROR: ")
"""The first line when the memory is exhausted."""
HEAP_MORE: Final = re.compile(r"<--- |FATAL ERROR: |----- |\[\d|\d{1,3}: 0x")

WARNING: Final = re.compile(r"\(node:(\d{1,10})\) (?:\[(\w{1,20})\] )?(\w{0,60}Warning: .*)", re.DOTALL)
WARNING_HINT: Final = "(Use `node --trace-"

IOREDIS: Final = "[ioredis] Unhandled error event: "


class Node(LineParser):
    """Read crashes, uncaught errors and warnings of Node.js, and errors that ioredis reports nowhere else."""

    kind: Literal["node"] = "node"

    is_distinctive: ClassVar[bool] = False
    joins_lines: ClassVar[bool] = True

    def parse(self, text: str, reading: Reading) -> ParsedLine | None:
        """Return what a line says; there is no time in it."""
        if found := WARNING.match(text):
            pid, code, message = found.groups()
            facts = {"pid": int(pid), **({"code": code} if code else {})}
            return ParsedLine(message, LogLevel.WARN, context=CONTEXT, facts=facts)
        if text.startswith(IOREDIS):
            return ParsedLine(text.removeprefix(IOREDIS), LogLevel.ERROR, context="ioredis")
        if text.startswith(HEAP) or THROW_SITE.fullmatch(text) or ERROR_HEAD.match(text):
            return ParsedLine(text, LogLevel.ERROR, context=CONTEXT)
        return None

    def continues(self, first: ParsedLine, more: Sequence[str], text: str) -> bool:
        """Return whether a line is part of a stack trace, of a crash, or the hint after a warning."""
        if first.level is LogLevel.WARN:
            return text.startswith(WARNING_HINT) or is_indented(text)
        if first.message.startswith(HEAP):
            return not text or is_indented(text) or bool(HEAP_MORE.match(text))
        if not THROW_SITE.fullmatch(first.message):
            return is_indented(text)
        if len(more) < 2:
            return not more or bool(CARET.fullmatch(text))
        if VERSION.match(more[-1]):
            return False
        # A message may have any lines, until its stack trace begins.
        is_message = not any(STACK_LINE.match(text) for text in more[2:MESSAGE_LINES])
        return is_message or not text or is_indented(text) or bool(ERROR_HEAD.match(text) or VERSION.match(text))

    def join(self, first: ParsedLine, more: Sequence[str]) -> ParsedLine:
        """Return an entry whose message is the error, and whose trace is all of it."""
        if first.level is LogLevel.WARN:
            return replace(first, trace="\n".join(more))
        lines = [first.message, *more]
        if THROW_SITE.fullmatch(first.message):
            errors = (text for text in more[2:] if text)
        else:
            errors = (text for text in lines if ERROR_HEAD.match(text) or text.startswith(HEAP[1]))
        error = next(errors, first.message)
        return replace(first, message=error, trace="\n".join(lines).rstrip())
