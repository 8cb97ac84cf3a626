"""The collector `scrape`: a page in the text format of Prometheus or OpenMetrics."""
