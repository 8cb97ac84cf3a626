"""Receives what is pushed to toban: OpenTelemetry traces, metrics and logs, business events, remote write."""
