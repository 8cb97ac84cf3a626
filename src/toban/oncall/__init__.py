"""The on-call schedule: people, shifts, holidays, calendars, and who is on call when."""
