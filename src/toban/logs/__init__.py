"""Receives, keeps and searches log lines."""
