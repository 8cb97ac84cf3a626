"""Parses the INFO of Redis."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RedisInfo:
    """
    An INFO: its plain fields, the keyspace of each database, and the statistics of each command.

    Every field is optional: Redis, Valkey and Upstash each leave out others. ``commands`` is None where the server
    only counts all commands together (Upstash).
    """

    fields: Mapping[str, str]
    databases: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    commands: Mapping[str, Mapping[str, str]] | None = None

    def number(self, name: str) -> float | None:
        """Return a field as a number, None where it is missing or not a number."""
        return parse_number(self.fields.get(name))

    def state(self, name: str, good: str) -> float | None:
        """Return whether a field is this word (1) or another (0), None where it is missing."""
        value = self.fields.get(name)
        return None if value is None else float(value == good)

    @property
    def product(self) -> str:
        """The product: redis, valkey or upstash."""
        if "upstash_version" in self.fields:
            return "upstash"
        return "valkey" if self.fields.get("server_name") == "valkey" or "valkey_version" in self.fields else "redis"

    @property
    def version(self) -> str:
        """The product's own version; its `redis_version` is the one that it is compatible with."""
        return self.fields.get(f"{self.product}_version", "")

    @property
    def mode(self) -> str:
        """The mode: standalone, cluster or sentinel."""
        return self.fields.get("redis_mode", self.fields.get("server_mode", ""))


def parse_number(text: str | None) -> float | None:
    """Parse a number; None where it is none."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def parse_info(text: str) -> RedisInfo:
    """Parse an INFO; lines that are no field are skipped."""
    fields, databases, commands = dict[str, str](), dict[str, dict[str, str]](), dict[str, dict[str, str]]()
    has_commands = False
    for line in text.splitlines():
        has_commands = has_commands or line.strip() == "# Commandstats"
        name, colon, value = line.strip().partition(":")
        if not colon or name.startswith("#"):
            continue
        if re.fullmatch(r"db\d+", name):
            databases[name] = dict(_pairs(value))
        elif name.startswith("cmdstat_"):
            commands[name.removeprefix("cmdstat_").lower()] = dict(_pairs(value))
        else:
            fields[name] = value
    return RedisInfo(fields, databases, commands if has_commands else None)


def _pairs(text: str) -> dict[str, str]:
    """Parse `name=value,name=value`."""
    parts = (part.partition("=") for part in text.split(","))
    return {name: value for name, equals, value in parts if name and equals}
