"""Backups of the shop's database: where they are, how they are written, read, encrypted and kept."""
