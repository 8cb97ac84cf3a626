"""HTTP: pages, toban's own and compatible APIs, health, ingest endpoints."""
