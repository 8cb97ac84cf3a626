"""Parser and writer of the text formats of Prometheus and OpenMetrics."""
