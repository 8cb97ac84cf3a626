"""The ground: the shared nouns, the seams, and a few tools."""
