"""Channels that the environment alone makes, by the original design's variables."""

from collections.abc import Mapping
from typing import Any, Final

VARIABLES: Final = {"slack": "SLACK_WEBHOOK_URL", "email": "SMTP_HOST", "pagerduty": "PAGERDUTY_INTEGRATION_KEY"}
"""The variable that makes each channel; those for mail have companions."""


def from_variables(environment: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """Return the channels that variables tell of, as paragraphs of the configuration."""
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
            # Without another word the account's own owner hears of it.
            "to": to or ([user] if "@" in user else []),
            "username": user,
            **({"password": environment["SMTP_PASSWORD"]} if environment.get("SMTP_PASSWORD") else {}),
        }
    if environment.get("PAGERDUTY_INTEGRATION_KEY"):
        found["pagerduty"] = {"kind": "pagerduty", "key": environment["PAGERDUTY_INTEGRATION_KEY"]}
    return found
