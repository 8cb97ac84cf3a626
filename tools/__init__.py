"""Tools for those who work on toban."""
