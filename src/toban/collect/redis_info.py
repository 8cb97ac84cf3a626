"""What Redis says of itself: its INFO, read."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RedisInfo:
    """
    An INFO: its plain fields, the keys of its databases, and its commands' figures.

    Every field is optional: Redis, Valkey and Upstash each leave out others. ``commands`` is None where the server
    doesn't tell commands apart (Upstash).
    """

    fields: Mapping[str, str]
    databases: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    commands: Mapping[str, Mapping[str, str]] | None = None

    def number(self, name: str) -> float | None:
        """Return a field as a number, or nothing where it is missing or none."""
        return parse_number(self.fields.get(name))

    def state(self, name: str, well: str) -> float | None:
        """Return whether a field says this word (1) or another (0), or nothing where it is missing."""
        said = self.fields.get(name)
        return None if said is None else float(said == well)

    @property
    def product(self) -> str:
        """Whose server it is."""
        if "upstash_version" in self.fields:
            return "upstash"
        return "valkey" if self.fields.get("server_name") == "valkey" or "valkey_version" in self.fields else "redis"

    @property
    def version(self) -> str:
        """The version that its makers give it; what they call Redis' version is the one they are compatible with."""
        return self.fields.get(f"{self.product}_version", "")

    @property
    def mode(self) -> str:
        """Whether it is standalone, a cluster or a sentinel."""
        return self.fields.get("redis_mode", self.fields.get("server_mode", ""))


def parse_number(text: str | None) -> float | None:
    """Read a number, or nothing."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def parse_info(text: str) -> RedisInfo:
    """Read an INFO; lines that are no field are passed over."""
    fields, databases, commands = dict[str, str](), dict[str, dict[str, str]](), dict[str, dict[str, str]]()
    told_apart = False
    for line in text.splitlines():
        told_apart = told_apart or line.strip() == "# Commandstats"
        name, colon, value = line.strip().partition(":")
        if not colon or name.startswith("#"):
            continue
        if re.fullmatch(r"db\d+", name):
            databases[name] = dict(_pairs(value))
        elif name.startswith("cmdstat_"):
            commands[name.removeprefix("cmdstat_").lower()] = dict(_pairs(value))
        else:
            fields[name] = value
    return RedisInfo(fields, databases, commands if told_apart else None)


def _pairs(text: str) -> dict[str, str]:
    """Read `name=value,name=value`."""
    parts = (part.partition("=") for part in text.split(","))
    return {name: value for name, equals, value in parts if name and equals}
