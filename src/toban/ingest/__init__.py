"""Turns what is pushed into numbers and log lines: OpenTelemetry's spans, metrics and logs, and business events."""
