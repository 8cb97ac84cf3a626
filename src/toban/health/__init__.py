"""The health of the shop, from the newest samples."""
