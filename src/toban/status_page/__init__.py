"""The status page for customers: what an operator tells them about an outage."""
