"""Charts: what is drawn where, in shares of a chart; and their drawing as SVG, as PNG and for terminals."""
