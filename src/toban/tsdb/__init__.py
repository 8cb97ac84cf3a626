"""The embedded time series store: a head, immutable blocks, retention and compaction."""
