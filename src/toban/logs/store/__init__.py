"""The embedded store of log lines: sealed blocks, and a durable head of what is not in a block yet."""
