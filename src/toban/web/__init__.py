"""All HTTP: the pages, the APIs that others speak, health."""
