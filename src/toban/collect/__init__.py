"""Reads numbers from the shop and what it stands on."""
