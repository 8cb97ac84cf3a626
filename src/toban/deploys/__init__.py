"""Deploys of the shop: recorded, shown beside what happens, and compared with the time before."""
