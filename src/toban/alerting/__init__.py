"""Evaluates alerting and recording rules, and owns alerts and acknowledgements."""
