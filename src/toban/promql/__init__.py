"""The PromQL engine: the same results as Prometheus 3."""
