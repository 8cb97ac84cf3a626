"""Channels that are configured by environment variables alone."""

from collections.abc import Mapping
from typing import Any, Final

VARIABLES: Final = {"slack": "SLACK_WEBHOOK_URL", "email": "SMTP_HOST", "pagerduty": "PAGERDUTY_INTEGRATION_KEY"}
"""The variable that configures each channel; e-mail has more."""


def from_variables(environment: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the channels of environment variables, as sections of the configuration."""
    found: dict[str, dict[str, Any]] = {}
    if environment.get("SLACK_WEBHOOK_URL"):
        found["slack"] = {"kind": "slack", "webhook": environment["SLACK_WEBHOOK_URL"]}
    if environment.get("SMTP_HOST"):
        user = environment.get("SMTP_USER", "")
        sender = environment.get("SMTP_FROM") or (user if "@" in user else "toban@localhost")
        to = [it.strip() for it in environment.get("SMTP_TO", "").split(",") if it.strip()]
        found["email"] = {
            "kind": "email",
            "host": environment["SMTP_HOST"],
            "sender": sender,
            # By default the owner of the account gets it.
            "to": to or ([user] if "@" in user else []),
            "username": user,
            **({"password": environment["SMTP_PASSWORD"]} if environment.get("SMTP_PASSWORD") else {}),
        }
    if environment.get("PAGERDUTY_INTEGRATION_KEY"):
        found["pagerduty"] = {"kind": "pagerduty", "key": environment["PAGERDUTY_INTEGRATION_KEY"]}
    return found
