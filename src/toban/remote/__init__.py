"""A remote engine: remote write to it, queries of it."""
