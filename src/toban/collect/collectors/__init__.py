"""The collectors: one file each, named like its kind."""
