"""Judges the numbers by rules."""
