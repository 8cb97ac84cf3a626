"""Where things lie unless the configuration says otherwise."""

import socket
import stat
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

from toban.core.errors import SettingsError

CONFIGURATION: Final = "toban.yaml"
"""The file that is read when it stands in the current folder."""

SOCKET: Final = "toban.sock"
"""The socket in the data folder through which commands talk to the running toban."""


KEPT: Final = ("toban.*", "alerts.jsonl", "tsdb", "logs", "lost+found")
"""What toban keeps in its data folder, by name, and what a file system of its own has."""

OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
"""What a mode allows others."""


def read_text(path: Path) -> str:
    """Return the text of a file. Raises ``SettingsError`` that says why it can't be read."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"{path}: can't be read: byte {error.start + 1} is no UTF-8 text: is it another kind of file?"
        ) from error
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: can't be read: {getattr(error, 'strerror', None) or error}") from error


def data_folder(environment: Mapping[str, str]) -> Path:
    """Return ``TOBAN_DATA``, else the place that the XDG specification gives to an application's data."""
    if environment.get("TOBAN_DATA"):
        return Path(environment["TOBAN_DATA"])
    share = environment.get("XDG_DATA_HOME") or str(Path(environment.get("HOME", "/")) / ".local" / "share")
    return Path(share) / "toban"


def make_private(folder: Path) -> list[str]:
    """
    Let nobody else into the data folder, nor read its files; return what could not be made so.

    The folder itself is changed only when all in it is toban's: a home or a shared folder is somebody else's business.
    """
    open_to_others = list[str]()
    names = [entry.name for entry in folder.iterdir()]
    own = [name for name in names if any(fnmatch(name, pattern) for pattern in KEPT)]
    inside = [path for name in own for path in (folder / name, *(folder / name).rglob("*"))]
    for path in [*([folder] if len(own) == len(names) else []), *inside]:
        try:
            mode = path.lstat().st_mode
            if stat.S_IMODE(mode) & OTHERS and not stat.S_ISLNK(mode):
                path.chmod(stat.S_IMODE(mode) & ~OTHERS)
        except FileNotFoundError:
            continue  # SQLite takes its companions away
        except OSError:
            open_to_others.append(str(path))
    if folder.stat().st_mode & OTHERS and str(folder) not in open_to_others:
        open_to_others.append(str(folder))
    return open_to_others


def host_names(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names by which other machines know this one: its host name, and what Fly.io calls it."""
    app, machine = environment.get("FLY_APP_NAME"), environment.get("FLY_MACHINE_ID")
    on_fly = (f"{app}.internal", f"{app}.flycast", f"{app}.fly.dev", f"{machine}.vm.{app}.internal") if app else ()
    return (socket.gethostname(), *on_fly)


def instance_name(environment: Mapping[str, str]) -> str:
    """Return what this machine is called in the label `instance`: its id on Fly, else `local`."""
    return environment.get("FLY_MACHINE_ID") or "local"
