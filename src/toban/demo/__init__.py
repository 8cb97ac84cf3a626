"""A real Vendure shop with simulated customers on this machine, to try toban and for its tests."""
