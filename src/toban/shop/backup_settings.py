"""The section `shop.backups`: where the backups of the shop's database are, and who can read them."""

from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from toban.core.age_keys import AgeRecipient
from toban.core.config_types import Secret, Section
from toban.core.s3 import S3Bucket


class BackupSettings(Section):
    """
    Where the backups of the shop's database are: a folder, or a bucket.

    They are encrypted in the format of `age` when `recipients` or `passphrase` is set. A private key is needed only
    where backups are read: for `restore_drill`, and for `backup_check` to look inside of them.
    """

    path: Path | None = None
    """A folder, best on another machine's disk."""

    bucket: S3Bucket | None = None
    """An S3-compatible bucket, instead of a folder; the names of backups begin with its `prefix`."""

    prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,60}$")] = "shop"
    """What the names of toban's backups begin with, like `shop-20260131T020000Z.dump`; no other file is deleted."""

    recipients: tuple[AgeRecipient, ...] = ()
    """The public keys to which backups are encrypted, like age1…: `age-keygen` makes a pair."""

    passphrase: Secret | None = None
    """A passphrase that encrypts and decrypts backups, instead of keys: ${TOBAN_BACKUP_PASSPHRASE}."""

    identity_file: Path | None = None
    """The file with the private key, as `age-keygen` writes it."""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.path is None) is (self.bucket is None):
            raise ValueError("set either `path` or `bucket`")
        if self.recipients and self.passphrase:
            raise ValueError("set either `recipients` or `passphrase`: a file of `age` can't have both")
        return self

    @property
    def is_encrypted(self) -> bool:
        """Whether new backups are encrypted."""
        return bool(self.recipients or self.passphrase)
