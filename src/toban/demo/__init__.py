"""A real Vendure shop on this machine, with customers: for looking at toban, and for its tests."""
