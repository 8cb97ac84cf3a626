"""What must survive a restart, except samples: transactions, migrations, event log, outbox, audit log, counters."""
