"""The text formats of Prometheus and OpenMetrics: reads and writes them."""
