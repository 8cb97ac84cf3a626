"""PromQL: answers questions about samples, as Prometheus 3 would."""
