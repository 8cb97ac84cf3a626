"""Reads log files as they grow."""
