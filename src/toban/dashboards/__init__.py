"""Boards as data: exported to Grafana, and the same for everybody who draws them."""
