"""Where things lie unless the configuration says otherwise."""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

CONFIGURATION: Final = "toban.yaml"
"""The file that is read when it stands in the current folder."""

SOCKET: Final = "toban.sock"
"""The socket in the data folder through which commands talk to the running toban."""


def data_folder(environment: Mapping[str, str]) -> Path:
    """Return ``TOBAN_DATA``, else the place that the XDG specification gives to an application's data."""
    if environment.get("TOBAN_DATA"):
        return Path(environment["TOBAN_DATA"])
    share = environment.get("XDG_DATA_HOME") or str(Path(environment.get("HOME", "/")) / ".local" / "share")
    return Path(share) / "toban"


def this_machine(environment: Mapping[str, str]) -> str:
    """Return what this machine is called in the label `instance`: its id on Fly, else `local`."""
    return environment.get("FLY_MACHINE_ID") or "local"
