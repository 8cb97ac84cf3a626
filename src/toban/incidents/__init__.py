"""Incidents: alerts that belong together, their deadlines, who is on call, and who answered."""
