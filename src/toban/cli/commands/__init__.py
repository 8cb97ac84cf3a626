"""The commands: one file each, named like the command; its docstring is its summary in the help."""
