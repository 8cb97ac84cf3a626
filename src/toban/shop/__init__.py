"""The shop: its settings, and connections to its database, Redis and APIs."""
