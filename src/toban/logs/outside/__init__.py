"""Reading log lines from an engine beside toban's own store."""
