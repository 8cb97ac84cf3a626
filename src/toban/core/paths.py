"""Default paths, permissions of files, and names of this machine."""

import socket
import stat
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Final

from toban.core.errors import SettingsError

CONFIGURATION: Final = "toban.yaml"
"""The configuration file, by default in the current folder."""

SOCKET: Final = "toban.sock"
"""The socket in the data folder through which commands reach the running toban."""

OWN_FILES: Final = ("toban.*", "alerts.jsonl", "tsdb", "logs", "lost+found")
"""Patterns of what toban stores in its data folder, and of what a file system of its own contains."""

OTHERS_MODE: Final = stat.S_IRWXG | stat.S_IRWXO
"""The bits of a mode that give access to other users."""


def read_text(path: Path) -> str:
    """Return the text of a file. Raises ``SettingsError`` with the reason why it can't be read."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"{path}: can't be read: byte {error.start + 1} is not UTF-8: is it another type of file?"
        ) from error
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path}: can't be read: {getattr(error, 'strerror', None) or error}") from error


def matching_files(pattern: str, setting: str) -> list[Path]:
    """Return the files that a pattern of a setting matches, in order. Raises ``SettingsError`` when there is none."""
    path = Path(pattern).absolute()
    try:
        found = sorted(it for it in Path(path.anchor).glob(str(path.relative_to(path.anchor))) if it.is_file())
    except (OSError, ValueError, NotImplementedError) as error:
        raise SettingsError(f"{setting}: {pattern!r}: {error}") from error
    if not found:
        raise SettingsError(f"{setting}: {pattern!r}: no such file")
    return found


def data_folder(environment: Mapping[str, str]) -> Path:
    """Return ``TOBAN_DATA``, else the folder of an application's data by the XDG specification."""
    if environment.get("TOBAN_DATA"):
        return Path(environment["TOBAN_DATA"])
    share = environment.get("XDG_DATA_HOME") or str(Path(environment.get("HOME", "/")) / ".local" / "share")
    return Path(share) / "toban"


def make_private(folder: Path) -> list[str]:
    """
    Remove the access of other users to the data folder and its files; return the paths where that failed.

    The mode of the folder itself is changed only if everything in it is toban's: not that of a home or a shared folder.
    """
    open_to_others = list[str]()
    names = [entry.name for entry in folder.iterdir()]
    own = [name for name in names if any(fnmatch(name, pattern) for pattern in OWN_FILES)]
    inside = [path for name in own for path in (folder / name, *(folder / name).rglob("*"))]
    for path in [*([folder] if len(own) == len(names) else []), *inside]:
        try:
            mode = path.lstat().st_mode
            if stat.S_IMODE(mode) & OTHERS_MODE and not stat.S_ISLNK(mode):
                path.chmod(stat.S_IMODE(mode) & ~OTHERS_MODE)
        except FileNotFoundError:
            continue  # SQLite has deleted its WAL
        except OSError:
            open_to_others.append(str(path))
    if folder.stat().st_mode & OTHERS_MODE and str(folder) not in open_to_others:
        open_to_others.append(str(folder))
    return open_to_others


def host_names(environment: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names by which other machines reach this one: its host name, and its names on Fly.io."""
    app, machine = environment.get("FLY_APP_NAME"), environment.get("FLY_MACHINE_ID")
    on_fly = (f"{app}.internal", f"{app}.flycast", f"{app}.fly.dev", f"{machine}.vm.{app}.internal") if app else ()
    return (socket.gethostname(), *on_fly)


def instance_name(environment: Mapping[str, str]) -> str:
    """Return the value of the label `instance` for this machine: its id on Fly, else `local`."""
    return environment.get("FLY_MACHINE_ID") or "local"
