"""Everything but samples that must survive a restart: transactions, migrations, feed, spool, journal."""
