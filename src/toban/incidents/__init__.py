"""Incidents: alerts that belong together, their deadlines, and who answered."""
