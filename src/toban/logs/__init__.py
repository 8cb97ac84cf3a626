"""Keeps log lines, and finds them again."""
