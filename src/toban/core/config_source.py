"""The file that the configuration in force was read from, and how it is changed: as a whole, or not at all."""

import hashlib
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from toban.core.errors import SettingsError
from toban.core.paths import read_text


@dataclass(frozen=True, slots=True)
class ConfigSource:
    """The file of a configuration, with the SHA-256 of its text as it was read: the text may hold secrets."""

    path: Path
    digest: str

    @classmethod
    def of(cls, path: Path, text: str) -> Self:
        """Return the source of a text."""
        return cls(path.absolute(), _digest(text))

    def text(self) -> str:
        """Return the text that is in force. Raises ``SettingsError`` when the file has changed since, or is away."""
        text = read_text(self.path)
        if _digest(text) != self.digest:
            raise SettingsError(f"{self.path.name} has changed since toban read it: `toban reload` first")
        return text

    def check_writable(self) -> None:
        """Raise ``SettingsError`` where the file can't be replaced, as in a container: by its permissions."""
        target = self.path.resolve()
        if not os.access(target, os.W_OK) or not os.access(target.parent, os.W_OK):
            raise SettingsError(f"{self.path.name} can't be written here: copy the lines into it")

    def replace(self, before: str, after: str) -> None:
        """
        Replace the text of the file: whoever reads it sees the old or the new one. Mode, owner and
        ends of lines stay.

        Raises ``SettingsError`` when it is not ``before`` any more, or can't be written.
        """
        if read_text(self.path) != before:
            raise SettingsError(f"{self.path.name} has changed meanwhile: nothing was written")
        target = self.path.resolve()
        try:
            # Made private, by a name of its own: it may hold secrets, and its mode is set after its content.
            number, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
            try:
                ends = "\r\n" if b"\r\n" in target.read_bytes() else "\n"
                with os.fdopen(number, "w", encoding="utf-8", newline=ends) as file:
                    file.write(after)
                    file.flush()
                    os.fsync(file.fileno())
                _keep_owner_and_mode(Path(name), target)
                Path(name).replace(target)
            except OSError:
                Path(name).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise SettingsError(f"{self.path.name} can't be written: {error.strerror}") from error


def _keep_owner_and_mode(new: Path, old: Path) -> None:
    wanted, found = old.stat(), new.stat()
    if (wanted.st_uid, wanted.st_gid) != (found.st_uid, found.st_gid):
        os.chown(new, wanted.st_uid, wanted.st_gid)
    new.chmod(wanted.st_mode)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()
