"""`python -m toban`."""

from toban.cli import main

main()
