"""The vocabulary of the shop: what is counted, by which name, and within which bounds."""
