"""Runbooks: what is done about an alert, by people or by toban itself, with brakes."""
