"""What can be wrong with a backup, by name: each has a sentence of its own, and a remedy."""

from enum import StrEnum

from toban.core.errors import ActionError
from toban.maintenance.task import Finding, Severity


class Problem(StrEnum):
    """What is wrong with a backup, or keeps it from being made or proved."""

    CUT_OFF = "cut off"
    """Its end is missing."""
    DAMAGED = "damaged"
    """Something in it has changed since it was written."""
    EMPTY = "empty"
    NOT_A_DUMP = "no dump"
    NO_KEY = "no key"
    """It can't be decrypted with the keys that are here."""
    OLD_CLIENT = "old client"
    """A program of PostgreSQL is older than what it works on."""
    NO_PROGRAM = "no program"
    OTHER_DATABASE = "other database"
    """It is intact, and not of this shop."""
    TOO_OLD = "too old"
    NO_DISK = "no disk"
    """There is too little room."""
    DISK_FULL = "disk full"
    EXTENSION = "extension"
    """The server of the drill lacks an extension."""
    RESTORE = "not restored"
    DATA = "data"
    """It was restored, and something is missing in it."""
    PLACE = "place"
    """Where backups are can't be read or written."""
    DUMP = "dump"
    """pg_dump has failed."""


class BackupError(ActionError):
    """A backup is not what it should be, or can't be made; ``problem`` tells one from the other."""

    def __init__(self, problem: Problem, text: str, remedy: str = "") -> None:
        super().__init__(f"{text}: {remedy}" if remedy else text)
        self.problem = problem
        self.text = text
        self.remedy = remedy

    def finding(self) -> Finding:
        """Return it as a finding."""
        return Finding(self.problem.value, self.text, Severity.CRITICAL, self.remedy)
