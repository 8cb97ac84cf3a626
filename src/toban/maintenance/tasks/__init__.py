"""The tasks of maintenance, a module for each kind."""
