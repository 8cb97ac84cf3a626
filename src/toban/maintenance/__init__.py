"""Maintenance: tasks on cron times that keep the shop's stores in order, and prove its backups."""
