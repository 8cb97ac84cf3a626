"""The format `plain`: a line is its message."""

from typing import ClassVar, Literal

from toban.logs.line_parser import LineParser, ParsedLine, Reading


class Plain(LineParser):
    """Take each line as a message without a level."""

    kind: Literal["plain"] = "plain"

    is_distinctive: ClassVar[bool] = False

    def parse(self, text: str, reading: Reading) -> ParsedLine:
        """Return the line as it is."""
        return ParsedLine(text)
