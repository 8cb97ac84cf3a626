"""Service levels, the history of firing alerts, and the review of thresholds."""
