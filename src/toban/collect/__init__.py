"""Collects metrics from the shop, its servers and machines."""
