"""Keeps samples and finds them again."""
