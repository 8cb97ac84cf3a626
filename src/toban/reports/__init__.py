"""Reports on a day, a week or a month of the shop: for its owners, and for its engineers."""
