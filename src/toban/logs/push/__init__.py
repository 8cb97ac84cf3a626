"""Receives log lines that other programs push."""
